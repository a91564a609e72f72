"""Loops: contacts, custom properties and replies."""
