"""`python -m contact_ingest`: the same as `contact-ingest`."""

from contact_ingest.cli import main

if __name__ == "__main__":
    main()
