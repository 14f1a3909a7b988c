"""Tables of benchmark rows, from saved results alone."""
