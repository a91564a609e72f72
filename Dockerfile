FROM python:3.11-slim

# The worker needs no shell, no compiler and no root.
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY worker ./worker
COPY tasks ./tasks
# The package is worker/ under its own name; worker/tasks is a link as well, and comes with the folder.
RUN ln -s worker contact_ingest \
    && pip install --no-cache-dir --constraint constraints.txt '.[demo]' \
    && useradd --create-home ingest
USER ingest

# SIGTERM is a warm shutdown: the worker first finishes what is in hand. Give it 75 seconds.
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s CMD ["contact-ingest", "health"]
CMD ["celery", "-A", "contact_ingest.tasks", "worker"]
