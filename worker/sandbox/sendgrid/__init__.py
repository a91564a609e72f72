"""A stand-in of SendGrid's Marketing Contacts API, after its documentation and recordings of it, checked 2026-11-22.

Behaviour that is not known of the live platform has a dial, which starts at the position that is worse for the caller.
"""
