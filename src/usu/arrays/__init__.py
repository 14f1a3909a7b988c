"""NumPy and torch at the border (`convert`) and checks of plain arguments (`checks`)."""
