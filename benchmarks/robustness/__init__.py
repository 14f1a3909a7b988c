"""What holds under extreme, malformed and hostile input."""
