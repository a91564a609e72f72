"""The tasks: what they are called, what they carry, and what they must never rely on."""

import ast
import base64
import inspect
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from celery import Celery
from support.people import person
from support.processes import WorkerProcess
from support.product import ROOT
from support.proxy import Proxy
from support.stage import Stage
from support.waiting import wait_until

from contact_ingest.engine import set_engine
from contact_ingest.model import stage as journey
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.schedule import WakeUp

TASKS = ROOT / "tasks"
#: Where data could hang on a message, or code come out of one.
FORBIDDEN = {
    "countdown",
    "eta",
    "acks_late",
    "reject_on_worker_lost",
    "autoretry_for",
    "retry_backoff",
    "chord",
    "group",
    "chain",
    "signature",
    "link",
    "link_error",
    "AsyncResult",
    "store_errors_even_if_ignored",
    "pickle",
    "yaml",
}


def forbidden_in(source: str) -> set[str]:
    """Forbidden Celery features that a module uses, by name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg=str(name)) | ast.Attribute(attr=name) | ast.Name(id=name):
                found |= {name} & FORBIDDEN
            case ast.ImportFrom(module=module, names=names):
                found |= {str(module), *(alias.name for alias in names)} & FORBIDDEN
            case ast.Import(names=names):
                found |= {alias.name for alias in names} & FORBIDDEN
            case ast.Dict(keys=keys):
                found |= {key.value for key in keys if isinstance(key, ast.Constant)} & FORBIDDEN
            case _:
                pass
        # `self.retry(...)`, `task.retry(...)`: on anything but our own retrier, it is Celery's.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "retry":
            owner = node.func.value
            if not (isinstance(owner, ast.Attribute) and owner.attr == "retrier"):
                found.add("retry")
    return found


@pytest.fixture(scope="module")
def app(redis_server: EmbeddedServer) -> Iterator[Celery]:
    """The product's app, as a worker or a producer that imports it has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", redis_server.url)
        patch.setenv("SENDGRID_API_KEY", "SG.test-key")
        patch.setenv("SENDGRID_BASE_URL", "http://127.0.0.1:1")
        patch.setenv("CONTACT_INGEST_KEY_PREFIX", "stage")
        from contact_ingest.tasks.celery import app  # noqa: PLC0415 - it reads its settings when imported
    app.loader.import_default_modules()
    yield app
    app.close()


@pytest.fixture
def producer(stage: Stage) -> Iterator[Celery]:
    """A program that shares nothing with the product but the broker."""
    with stage.celery("elsewhere") as made:
        yield made


def ours(app: Celery) -> dict[str, object]:
    return {name: task for name, task in app.tasks.items() if name.startswith("contacts.")}


def test_the_tasks_and_their_parameters_are_the_public_interface(app):
    assert {name: list(inspect.signature(task.run).parameters) for name, task in ours(app).items()} == {
        "contacts.aggregate": ["lane"],
        "contacts.dispatch": ["destination"],
        "contacts.enqueue": ["records", "to", "list_ids", "key", "wait_s", "until_s"],
        "contacts.poll": ["destination"],
        "contacts.retry": ["destination", "code", "batch", "lane"],
    }
    assert set(ours(app)) == {f"contacts.{stage}" for stage in journey.Stage}
    optional = {
        name: [p.name for p in inspect.signature(task.run).parameters.values() if p.default is not p.empty]
        for name, task in ours(app).items()
    }
    assert optional["contacts.enqueue"] == ["to", "list_ids", "key", "wait_s", "until_s"]
    assert optional["contacts.retry"] == ["code", "batch", "lane"]


def test_no_task_relies_on_what_celery_would_lose_or_repeat(app):
    sources = {
        Path(inspect.getfile(type(task).run if task.run is None else task.run)).resolve() for task in ours(app).values()
    }
    assert sources < set(TASKS.glob("*.py")), "a task lives outside tasks/"
    for path in TASKS.glob("*.py"):
        assert forbidden_in(path.read_text()) == set(), path.name
    for name, task in ours(app).items():
        assert task.acks_late is False, name
        assert task.reject_on_worker_lost is not True, name
        assert task.ignore_result is True, name
        assert task.store_errors_even_if_ignored is False, name
        assert task.serializer == "json", name
        assert not getattr(task, "autoretry_for", ()), name
        assert task.rate_limit is None, name


@pytest.mark.parametrize(
    ("snippet", "name"),
    [
        ("ring.apply_async(args, countdown=5)", "countdown"),
        ("ring.apply_async(args, **{'eta': at})", "eta"),
        ("self.retry(exc=problem)", "retry"),
        ("@shared_task(acks_late=True)\ndef ring(): ...", "acks_late"),
        ("@shared_task(autoretry_for=(OSError,))\ndef ring(): ...", "autoretry_for"),
        ("from celery import chord", "chord"),
        ("celery.chord(parts)(done)", "chord"),
        ("ring.AsyncResult(ident)", "AsyncResult"),
        ("import pickle", "pickle"),
        ("ring.apply_async(args, link=other)", "link"),
    ],
)
def test_the_check_for_forbidden_features_sees_each_of_them(snippet, name):
    assert forbidden_in(snippet) == {name}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("result_accept_content", ["json"]),
        ("event_serializer", "json"),
        ("result_backend", None),
        ("task_ignore_result", True),
        ("task_store_errors_even_if_ignored", False),
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("worker_prefetch_multiplier", 1),
        ("worker_disable_prefetch", True),
        ("worker_eta_task_limit", 100),
        ("task_send_sent_event", False),
        ("worker_send_task_events", False),
        ("worker_soft_shutdown_timeout", 35.0),
        ("broker_connection_retry_on_startup", True),
        ("broker_connection_max_retries", None),
        ("beat_schedule", {}),
    ],
)
def test_a_setting_that_a_promise_hangs_on_is_in_force(app, name, value):
    assert app.conf[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("socket_timeout", 15),
        ("socket_connect_timeout", 5),
        ("socket_keepalive", True),
        ("health_check_interval", 10),
        ("unacked_restore_interval", 5),
        ("unacked_restore_throttle", 1),
        ("global_keyprefix", "stage:broker:"),
    ],
)
def test_an_option_of_the_broker_connection_is_in_force(app, name, value):
    assert app.conf.broker_transport_options[name] == value


def test_a_soft_shutdown_lasts_longer_than_an_http_exchange_can(app, stage):
    assert app.conf.worker_soft_shutdown_timeout > stage.engine.settings.deadline_s
    assert app.conf.task_soft_time_limit > stage.engine.settings.deadline_s


def test_a_rediss_broker_is_given_certificates_to_check(app):
    from contact_ingest.tasks.celery import _tls  # noqa: PLC0415 - once the fixture has given it its settings

    options = _tls("rediss://broker.example:6379/0?ssl_ca_certs=/etc/ca.pem")
    assert options == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/etc/ca.pem"}
    assert _tls("redis://broker.example:6379/0") is None


def test_the_enqueue_message_says_nothing_of_its_records_outside_its_body(app, stage):
    app.tasks["contacts.enqueue"].delay([person(1)], to="sendgrid")

    (message,) = stage.wakeups()
    assert message["headers"]["argsrepr"] == message["headers"]["kwargsrepr"] == "(redacted)"
    assert b"p1@example.com" not in orjson.dumps({**message, "body": ""}).lower()
    assert b"p1@example.com" in base64.b64decode(message["body"])


def test_wakeups_carry_names_and_expire(app, stage):
    from contact_ingest.tasks.notify import publish  # noqa: PLC0415

    stage.enqueue(person(i, last_name="[[fail-import]]" if i == 7 else "Doe") for i in range(50))
    seen: set[str] = set()

    def follow() -> bool:
        """Send wake-ups for what is due, look at the messages, then do what they ask for."""
        publish(stage.runtime.schedule.tick(4).wakeups)
        for message in stage.wakeups():
            args, kwargs, _ = orjson.loads(base64.b64decode(message["body"]))
            assert args == ["sendgrid"]
            assert kwargs == {}
            assert message["headers"]["expires"] is not None
            assert message["headers"]["eta"] is None
            assert b"@" not in orjson.dumps({**message, "headers": {**message["headers"], "origin": ""}})
            kind = message["headers"]["task"].removeprefix("contacts.")
            seen.add(kind)
            stage.follow(kind, "sendgrid")
        stage.client.delete(stage.queue)
        return stage.is_settled()

    wait_until(follow, what=stage.books)
    assert seen == {"aggregate", "dispatch", "poll"}
    assert stage.books()["delivered"] == 49


def test_no_more_wakeups_lie_in_the_broker_than_there_are_workers_to_take_them(app, stage):
    from contact_ingest.tasks.notify import notify, publish  # noqa: PLC0415

    set_engine(stage.engine)
    runtime = stage.runtime
    runtime.state.set_slots(3)
    for number in range(10):
        stage.enqueue([person(number)])
        stage.follow("aggregate", "sendgrid")

    notify([WakeUp("dispatch", "sendgrid")] * 10)
    publish(wakeup for wakeup in runtime.schedule.tick(8).wakeups if wakeup.kind == "dispatch")
    assert len(stage.wakeups()) == 3

    runtime.batch_store.claim("dispatch", consume_wakeup=False)  # a slice goes on: nobody has taken a wake-up out
    notify([WakeUp("dispatch", "sendgrid")])
    assert len(stage.wakeups()) == 3
    runtime.batch_store.claim("dispatch")
    notify([WakeUp("dispatch", "sendgrid")] * 2)
    assert len(stage.wakeups()) == 4


def test_a_producer_with_nothing_but_the_broker_can_enqueue_and_its_repeats_count_once(stage, producer, sandbox):
    records = [person(i) for i in range(20)]
    for _ in range(3):
        producer.send_task("contacts.enqueue", [records, "sendgrid"], task_id="one-and-the-same")
    producer.send_task("contacts.enqueue", [person(20)], kwargs={"to": "sendgrid", "list_ids": []})

    with stage.worker(pool="threads", concurrency=2) as worker:
        wait_until(lambda: stage.client.llen(stage.queue) == 0 and stage.is_settled(of=21), 30, stage.books)
        wait_until(lambda: sum(lane["repeated"] for lane in repeated(stage)) == 2)

        assert stage.books()["accepted"] == stage.books()["delivered"] == 21
        assert {c["email"] for c in sandbox.contacts()} == {f"p{i}@example.com" for i in range(21)}
        assert "@example.com" not in worker.log.lower()
    stage.assert_books_balance()


def repeated(stage: Stage) -> list[dict[str, int]]:
    from contact_ingest.store import books  # noqa: PLC0415

    return [lane.counts for lane in books.read(stage.runtime.store)]


def test_a_pickle_message_is_refused_and_no_unreadable_message_is_quoted_in_the_log(stage, producer, tmp_path):
    trap = tmp_path / "unpickled"

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(trap),))

    contact = person(1, domain="Quoted.example")
    producer.send_task("contacts.enqueue", [Trap(), contact], serializer="pickle")
    producer.send_task("contacts.enqueue", [contact, "no-such-destination"])
    producer.send_task("contacts.enqueue", kwargs={"no_such": contact})
    producer.send_task("contacts.no_such_task", [contact])
    producer.send_task("contacts.enqueue", [person(2), "sendgrid"])

    with stage.worker() as worker:
        stage.wait_until_settled(of=1)

        assert stage.books()["accepted"] == stage.books()["delivered"] == 1
        assert not trap.exists()
        assert "contacts.no_such_task" in worker.log
        assert "no-such-destination" in worker.log
        assert "quoted.example" not in worker.log.lower(), worker.log


@pytest.mark.parametrize(
    "message",
    [
        *(b"garbage", b"", b"\xff\xfe{}", b"[1, 2]", b'"text"', b"7", b"{}", b'{"body": 5}', b'{"properties": []}'),
        orjson.dumps({"body": "!", "headers": {}, "properties": {"delivery_info": {}, "delivery_tag": "t"}}),
    ],
)
def test_a_message_that_is_no_message_is_deleted_and_ends_no_worker(stage, producer, message):
    stage.client.lpush(stage.queue, message)
    producer.send_task("contacts.enqueue", [person(1), "sendgrid"])

    with stage.worker(pool="threads", concurrency=2) as worker:
        stage.wait_until_settled(of=1)
        wait_until(lambda: stage.client.llen(stage.queue) == 0, 20)

        assert not worker.has_ended, worker.log
        assert stage.books()["delivered"] == 1
        assert "Traceback" not in worker.log, worker.log


def test_inspecting_a_worker_shows_no_records(stage, producer):
    """The task waits for room in a lane that is full, so that it can be seen at work."""
    limits = {"MAX_LANE_BYTES": "1000000", "MAX_WAIT_S": "60"}
    stage.enqueue({"email": f"filler{n}@example.com", "address_line_1": "x" * 90} for n in range(9_000))
    records = [person(n, domain="Inspected.example", city="y" * 50) for n in range(500)]
    producer.send_task("contacts.enqueue", [records, "sendgrid"])
    with stage.worker(pool="threads", concurrency=2, **limits):
        stage.runtime.state.pause(None, "to see a task at work")
        inspect = producer.control.inspect(timeout=1)

        def seen() -> str:
            found = [*(inspect.active() or {}).values(), *(inspect.reserved() or {}).values()]
            return str([each for each in found if "contacts.enqueue" in str(each)] or "")

        shown = wait_until(seen, 30)
        assert "(redacted)" in shown
        assert "inspected.example" not in shown.lower()


def test_a_worker_without_a_destination_does_not_start_and_says_what_to_set(stage):
    environment = {n: v for n, v in stage.environment().items() if n not in ("SENDGRID_API_KEY", "SENDGRID_BASE_URL")}
    with WorkerProcess(environment, stage.directory) as worker:
        assert worker.wait(20) != 0
        assert "SENDGRID_API_KEY" in worker.log


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqs://", "sqs needs a package: pip install 'celery[sqs]'"),
        (
            "azureservicebus://key:secret@space",
            "azureservicebus needs a package: pip install 'celery[azureservicebus]'",
        ),
        ("carrier-pigeon://coop", "Celery knows no broker of this kind: carrier-pigeon"),
    ],
)
def test_a_worker_says_what_its_broker_needs(stage, url, says):
    with WorkerProcess({**stage.environment(), "CELERY_BROKER_URL": url}, stage.directory) as worker:
        assert worker.wait(20) == 2
        assert f"CELERY_BROKER_URL: {says}" in worker.log
        assert "secret" not in worker.log


def test_installations_have_queues_of_their_own_on_a_shared_broker(app):
    from contact_ingest.tasks.broker import control_exchange, queue_name  # noqa: PLC0415

    assert control_exchange("amqp", "contact-ingest") == "celery"
    assert control_exchange("amqp", "news") != control_exchange("amqp", "shop")
    assert queue_name("amqp", "contact-ingest") == "contacts"
    assert {queue_name("amqp", prefix) for prefix in ("news", "shop")} == {"news.contacts", "shop.contacts"}
    assert queue_name("redis", "news") == "contacts"


def test_a_wakeup_that_the_broker_does_not_take_costs_only_a_moment(stage, redis_server):
    """The reply to the publication of wake-ups is lost; the ticker sends another."""
    with Proxy(redis_server.url) as proxy:
        proxy.lose_replies(b"LPUSH", 2)
        environment = {**stage.environment(), "CELERY_BROKER_URL": proxy.url}
        with WorkerProcess(environment, stage.directory) as worker:
            stage.wait_for_heartbeat(worker)
            stage.enqueue(person(i) for i in range(10))
            stage.wait_until_settled(of=10)
            assert proxy.lost == 2
            assert stage.books()["delivered"] == 10
