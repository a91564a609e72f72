"""Loops' contacts API as its documentation, its specification and its users describe it, checked 2026-11-22.

Where nothing is known of the live platform there is a dial, and it starts at the position that is worse for the caller.
"""
