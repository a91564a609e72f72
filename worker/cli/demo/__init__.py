"""`contact-ingest demo`: the whole journey of made-up contacts on this machine, without an account.

The demonstration starts a real Redis-compatible server, the strict sandbox and a real Celery worker as child processes.
It sends made-up contacts through them, some bad on purpose, and checks every claim against what the sandbox received.
"""

from contact_ingest.cli.demo.command import register

__all__ = ["register"]
