"""A stand-in of SAP Emarsys' contact API, after its documentation and its users' reports, checked 2026-11-22.

Behaviour that is not known of the live platform has a dial, which starts at the position that is worse for the caller.
"""
