"""The machine's side: files written whole, seeded randomness, memory that the allocator keeps."""
