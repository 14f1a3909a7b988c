"""Kills, full disks and hostile files: short forms of what benchmarks/robustness measures."""
