"""What the machine gives: files written whole, seeded randomness, memory that the allocator keeps."""
