"""How long things take, and what they cost in memory: ratios within one run."""
