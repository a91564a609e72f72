"""A strict stand-in of the marketing platforms, for sending without an account; and the embedded Redis server.

The sandbox refuses whatever a platform refuses and repairs nothing. It keeps a journal of what it received, and has
dials for everything that can go wrong on the way. The sandbox imports nothing from the rest of `contact_ingest` and
shares no constant with the providers: a limit that one side has wrong shows up as a disagreement. Start it with
`python -m contact_ingest.sandbox`, or from Python with `process.SandboxProcess`.
"""
