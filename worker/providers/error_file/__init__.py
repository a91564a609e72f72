"""Error files: lists of failed rows in formats that nobody documents."""
