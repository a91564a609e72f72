"""The task `contacts.enqueue`: a message with a used key or wrong arguments is told, and stores nothing."""

import pytest
from support.people import person
from support.waiting import wait_until


@pytest.fixture
def producer(stage):
    """A program that shares nothing with the product but the broker."""
    with stage.celery("elsewhere") as made:
        yield made


def test_a_message_with_other_records_under_a_used_key_or_wrong_arguments_is_told_and_stores_nothing(stage, producer):
    send = producer.send_task
    send("contacts.enqueue", [person(1), "sendgrid"], {"key": "signup-17"})
    send("contacts.enqueue", [person(2), "sendgrid"], {"key": "signup-17"})
    send("contacts.enqueue", [person(2), ["sendgrid"]], {"key": "another"})
    for wrong in ({"key": 17}, {"key": ""}, {"wait_s": "z"}, {"wait_s": -1}, {"until_s": 1e300}, {"to": []}):
        send("contacts.enqueue", [person(9)], {"to": "sendgrid", "key": "wrong", **wrong})
    send("contacts.enqueue", [person(9)], {"to": {"sendgrid": {"list_ids": "x"}}})

    with stage.worker() as worker:
        wait_until(lambda: stage.client.llen(stage.queue) == 0 and stage.is_settled(of=2), 30, stage.books)
        wait_until(lambda: worker.log.count("a message was ignored") == 8, 30, lambda: worker.log)

        assert "key: was used for other records within a day" in worker.log
        assert "signup-17" not in worker.log
    assert stage.books()["accepted"] == stage.books()["delivered"] == 2
