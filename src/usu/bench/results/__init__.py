"""Results in a folder of Parquet parts that a killed run continues."""
