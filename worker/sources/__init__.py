"""Readers of files with contact records: CSV, JSON and JSON lines, with their columns and telephone numbers."""
