"""What the docs' figures and tables are made by; run with `python -m benchmarks...` from a clone."""
