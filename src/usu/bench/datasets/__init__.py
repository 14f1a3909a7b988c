"""Data sets of labelled images, each a reader of its published layout."""
