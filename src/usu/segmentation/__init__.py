"""Segments: label maps from coarse to fine, the ways a picture is cut into them, binary trees of them."""
