"""Messages of strangers and mistakes of ours: the log names what happened and quotes nothing."""

import logging
from pathlib import Path

import pytest
from support.fuzz_records import CANARY, Records
from support.people import person
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest.config.logging import JsonFormatter, PlainFormatter
from contact_ingest.errors import Refused, describe_bug
from contact_ingest.model.http_message import rate_headers


def test_messages_of_strangers_end_as_log_lines_that_quote_nothing(client, redis_server, sandbox, tmp_path):

    source = Records(14)
    with (
        Stage(redis_server.url, sandbox.url, tmp_path) as stage,
        stage.celery("elsewhere") as producer,
    ):
        for _ in range(60):
            task, args, kwargs = source.message()
            producer.send_task(f"contacts.{task}", args, kwargs)
        producer.send_task("contacts.aggregate", ["sendgrid+0123abcd"])
        producer.send_task("contacts.dispatch", ["nowhere"])
        producer.send_task("contacts.enqueue", [person(1)])
        with stage.worker() as worker:
            wait_until(lambda: stage.client.llen(stage.queue) == 0, 30, lambda: worker.log)
            wait_until(lambda: stage.is_settled(of=1), 30, stage.books)

            assert "Traceback" not in worker.log, worker.log
            assert " ERROR " not in worker.log
            assert CANARY not in worker.log
            assert "no such destination: nowhere" in worker.log
        assert stage.client.zscore(stage.runtime.store.keys("due:aggregate"), "sendgrid+0123abcd") is None
        assert max(map(len, worker.log.splitlines())) < 1_000


@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_the_text_of_an_exception_is_not_logged_only_its_kind_and_place(formatter):
    record = logging.makeLogRecord({"msg": "tick failed"})
    try:
        int({CANARY: CANARY}["x" + CANARY])
    except KeyError as first:
        wrong = ValueError(CANARY)
        wrong.__cause__ = first
    record.exc_info = (ValueError, wrong, wrong.__traceback__)
    text = formatter.format(record)

    assert CANARY not in text
    assert "builtins.KeyError: (its text is not logged)" in text
    assert Path(__file__).name in text
    record.exc_info = (Refused, Refused("email", "has 9 characters", "too_long"), None)
    assert "has 9 characters" in formatter.format(record)


def test_a_defect_is_named_by_the_innermost_line_of_ours():
    with pytest.raises(AttributeError) as raised:
        rate_headers(None, 0)

    assert describe_bug(raised.value).startswith("AttributeError at http_message.py:")
