"""Emarsys: contacts, fields, replies and credentials."""
