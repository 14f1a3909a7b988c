"""Where a benchmark's jobs run: in this process, in several, or on a cluster. Engines know no model."""
