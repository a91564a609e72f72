"""`python -m worker`: the same as `contact-ingest`."""

from worker.cli import main

if __name__ == "__main__":
    main()
