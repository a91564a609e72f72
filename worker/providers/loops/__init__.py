"""Loops: one contact a request, answered at once."""
