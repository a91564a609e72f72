"""Emarsys: contacts in batches of 1,000, answered at once, row by row."""
