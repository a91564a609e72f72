"""Reads whole sources into lanes, resumably. Today: files (`loader`)."""
