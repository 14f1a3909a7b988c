"""Results in a folder of Parquet parts that a killed run continues."""

# What stands for the source of a map that needs no coarse map.
NO_SOURCE = "none"
