"""Error files of import jobs: which rows of a batch failed, and why."""
