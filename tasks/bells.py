"""Ringing: a Celery message that says where to look. It expires soon; the ticker rings again."""

from collections.abc import Iterable

from celery import current_app

from worker.store.schedule import Bell

#: A bell older than this says nothing any more, in seconds.
EXPIRES_S = 60


def ring(bells: Iterable[Bell]) -> None:
    for bell in bells:
        current_app.send_task(f"contacts.{bell.kind}", args=[bell.target], expires=EXPIRES_S, ignore_result=True)
