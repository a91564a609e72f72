"""A strict stand-in of the marketing platforms, to send to without an account.

It says no wherever the platform does, repairs nothing, keeps a journal of what it received, and has dials for
everything that can go wrong on the way. It is independent: it imports nothing from the rest of `worker` and shares no
constant with the providers, so a limit copied wrongly on one side shows up as a disagreement. Start it with
`python -m contact_ingest.sandbox`, or from Python with `process.SandboxProcess`.
"""
