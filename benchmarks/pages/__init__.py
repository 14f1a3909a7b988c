"""Scripts that make the pictures and measured pages of the documentation."""
