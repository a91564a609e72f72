"""Every documented setting of a process changes something: what is sent or stored, when something is due, or the log.

A setting without a case here fails the last test: one that is checked and then ignored must not come back."""

import inspect
import logging
import subprocess
import sys

import orjson
import pytest
import trustme
from support.configured import RECORD, Cases
from support.connect_proxy import ConnectProxy
from support.peer import Peer, advance, reply, speak_to
from support.people import person
from support.wire_server import Server, answer, server_tls

from contact_ingest import LaneFull, StoreUnavailable, enqueue
from contact_ingest.config.logging import configure
from contact_ingest.config.settings import Settings
from contact_ingest.engine import build_runtime
from contact_ingest.model.http_message import RateHeaders, Response
from contact_ingest.tasks.ticker import Housekeeping

CASES = Cases()


@pytest.fixture(autouse=True)
def _level_of_the_log():
    yield
    logging.getLogger("contact_ingest").setLevel(logging.NOTSET)


def due_ms(harness, stage, member):
    """In how many ms something is due."""
    runtime = harness.runtime
    return runtime.store.client.zscore(runtime.store.keys(f"due:{stage}"), member) - runtime.clock.now_ms()


def about(found, wanted, within=2_000):
    return wanted - within <= found <= wanted


@CASES.of("REDIS_URL")
def the_server_and_its_database(configured):
    url = configured._redis_url.rstrip("/").removesuffix("/0") + "/3"
    harness = configured.start(env={"REDIS_URL": url})
    enqueue(RECORD)
    assert configured.client.dbsize() == 0
    assert harness.engine.client.dbsize() > 0
    harness.engine.client.flushdb()


@CASES.of("CELERY_BROKER_URL")
def the_brokers_own_server(configured):
    for given, number in (({}, 0), ({"CELERY_BROKER_URL": "redis://127.0.0.1:1/5"}, 5)):
        engine = configured.start(env=given).engine
        assert engine.broker.connection_pool.connection_kwargs.get("db", 0) == number
        assert engine.settings.broker.endswith("/5") is bool(given)


@CASES.of("CONTACT_INGEST_KEY_PREFIX")
def the_beginning_of_every_key(configured):
    configured.start(env={"CONTACT_INGEST_KEY_PREFIX": "mine"})
    enqueue(RECORD)
    assert {key.split(b":")[0] for key in configured.client.scan_iter()} == {b"mine"}


@CASES.of("CONTACT_INGEST_CONFIG")
def the_file(configured):
    other = configured.folder / "other.toml"
    other.write_text('[destinations.other]\nplatform = "sendgrid"\napi_key = "SG.k"\n')
    assert configured.start(env={"CONTACT_INGEST_CONFIG": str(other)}).engine.destinations == ("other",)


@CASES.of("CONTACT_INGEST_MAX_WAIT_S")
def the_moment_a_lane_is_due(configured):
    for given, wait_ms in (({}, 5_000), ({"CONTACT_INGEST_MAX_WAIT_S": "60"}, 60_000)):
        harness = configured.start(env=given)
        enqueue(RECORD)
        assert about(due_ms(harness, "aggregate", "shop"), wait_ms)


@CASES.of("CONTACT_INGEST_MAX_BODY_BYTES")
def the_size_of_a_body(configured):
    for platform in ("sendgrid", "emarsys"):
        lengths = []
        for given in ({}, {"CONTACT_INGEST_MAX_BODY_BYTES": "65536"}):
            configured.start(platform, given)
            configured.send(person(number, last_name="x" * 50) for number in range(900))
            lengths.append(next(request for request in configured.peer.heard if request.endpoint == "upsert").length)
        assert lengths[1] <= 65_536 < lengths[0]


@CASES.of("CONTACT_INGEST_MAX_LANE_BYTES")
def the_room_of_a_lane(configured):
    configured.start(env={"CONTACT_INGEST_MAX_LANE_BYTES": "1000000"})
    with pytest.raises(LaneFull):
        enqueue(person(number, city="x" * 900) for number in range(2_000))


@CASES.of("CONTACT_INGEST_MAX_RECORD_BYTES")
def the_size_of_a_record(configured):
    for given, refused in (({}, 0), ({"CONTACT_INGEST_MAX_RECORD_BYTES": "1000"}, 1)):
        configured.start(env=given)
        assert enqueue(person(1, city="x" * 2_000)).refused_count == refused


@CASES.of("CONTACT_INGEST_MAX_OPEN_BATCHES")
def the_number_of_open_batches(configured):
    for platform in ("sendgrid", "loops", "emarsys"):
        counts = []
        for given in ({}, {"CONTACT_INGEST_MAX_OPEN_BATCHES": "2"}):
            small = {} if platform == "loops" else {"CONTACT_INGEST_MAX_BODY_BYTES": "65536"}
            harness = configured.start(platform, {**given, **small})
            enqueue(person(number, custom_fields={}, first_name="x" * 50) for number in range(4_000))
            for _ in range(5):
                harness.runtime.aggregator.aggregate("shop")
            counts.append(configured.client.zcard(harness.runtime.store.keys("due:dispatch")))
        assert counts[0] > counts[1] == 2


@CASES.of("CONTACT_INGEST_POLL_FIRST_S")
def the_first_poll(configured):
    for given, wait_ms in (({}, 5_000), ({"CONTACT_INGEST_POLL_FIRST_S": "60"}, 60_000)):
        harness = configured.start(env=given)
        configured.send([RECORD])
        assert about(due_ms(harness, "poll", "1"), wait_ms)


def never_ends(request):
    return reply(202, {"job_id": "j"}) if request.method == "PUT" else reply(200, {"status": "pending"})


@CASES.of("CONTACT_INGEST_POLL_DEADLINE_S")
def the_end_of_polling(configured):
    for given, failed in (({}, 0), ({"CONTACT_INGEST_POLL_DEADLINE_S": "60"}, 1)):
        harness = configured.start(env=given)
        speak_to(Peer(never_ends), harness)
        configured.send([RECORD])
        advance(harness.runtime, 100)
        harness.runtime.poller.poll("shop")
        assert harness.books()["failed"] == failed


@CASES.of("CONTACT_INGEST_RETRY_WINDOW_S")
def the_end_of_sending_again(configured):
    for given, failed in (({}, 0), ({"CONTACT_INGEST_RETRY_WINDOW_S": "60"}, 1)):
        harness = configured.start(env=given)
        speak_to(Peer(lambda _: reply(503)), harness)
        configured.send([RECORD])
        advance(harness.runtime, 1_000)
        harness.runtime.dispatcher.dispatch("shop")
        assert harness.books()["failed"] == failed


@CASES.of("CONTACT_INGEST_BREAKER_S")
def the_rest_after_failures(configured):
    for given, rest_ms in (({}, 60_000), ({"CONTACT_INGEST_BREAKER_S": "600"}, 600_000)):
        runtime = configured.start(env=given).runtime
        for _ in range(5):
            runtime.rate_limiter.report(runtime.rate_limiter.acquire("upsert"), RateHeaders(), result="failed")
        state = runtime.breaker.state()
        assert about(state.open_until - state.now, rest_ms)


@CASES.of("CONTACT_INGEST_ORPHAN_WAIT_S")
def the_quarantine_of_a_request_of_unknown_fate(configured):
    def gateway(request):
        return reply(504) if len(peer.heard) == 1 else reply(202, {"job_id": "j"})

    for given, held in (({}, 1), ({"CONTACT_INGEST_ORPHAN_WAIT_S": "0"}, 0)):
        harness = configured.start(env=given)
        peer = Peer(gateway)
        speak_to(peer, harness)
        configured.send([RECORD])
        advance(harness.runtime, 30)
        harness.runtime.dispatcher.dispatch("shop")
        advance(harness.runtime, 30)
        peer.answer = lambda _: reply(200, {"status": "completed"})
        harness.runtime.poller.poll("shop")
        enqueue(RECORD)
        harness.runtime.schedule.flush("shop")
        harness.runtime.aggregator.aggregate("shop")
        assert harness.books()["held"] == held


@CASES.of("CONTACT_INGEST_LEASE_S")
def the_lease_of_a_claim(configured):
    for given, lease_ms in (({}, 45_000), ({"CONTACT_INGEST_LEASE_S": "300"}, 300_000)):
        harness = configured.start(env=given)
        enqueue(RECORD)
        harness.runtime.schedule.flush("shop")
        harness.runtime.aggregator.aggregate("shop")
        harness.runtime.batch_store.claim("dispatch")
        assert about(due_ms(harness, "dispatch", "1"), lease_ms)


@CASES.of("CONTACT_INGEST_KEEP_BATCHES_S")
def the_time_that_settled_batches_stay(configured):
    for given, left in (({}, 1), ({"CONTACT_INGEST_KEEP_BATCHES_S": "60"}, 0)):
        harness = configured.start(env=given)
        configured.send([RECORD])
        advance(harness.runtime, 30)
        harness.runtime.poller.poll("shop")
        advance(harness.runtime, 1_000)
        Housekeeping(harness.engine, 1).run()
        assert configured.client.zcard(harness.runtime.store.keys("batches")) == left


@CASES.of("CONTACT_INGEST_KEEP_FAILURES_S")
def the_time_that_failures_stay(configured):
    for given, left in (({}, 1), ({"CONTACT_INGEST_KEEP_FAILURES_S": "60"}, 0)):
        harness = configured.start(env=given)
        configured.send([person(1, first_name="x" * 51)])
        advance(harness.runtime, 1_000)
        Housekeeping(harness.engine, 1).run()
        assert harness.books()["failed"] == left


@CASES.of("CONTACT_INGEST_STORE_ACK_REPLICAS")
def the_replicas_that_must_have_it(configured):
    configured.start(env={"CONTACT_INGEST_STORE_ACK_REPLICAS": "1"})
    with pytest.raises(StoreUnavailable):
        enqueue(RECORD)


def log_line(configured, capfd, **env):
    """What the settings make of a line at INFO."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    settings = configured.start(env=env).engine.settings
    try:
        configure(settings)
        logging.getLogger("contact_ingest.test").info("hello")
        return capfd.readouterr().err
    finally:
        root.handlers[:] = before


def reply_to_a_probe(configured, base_url, **env):
    """The reply, or the reason why there is none, over the transport that the settings make."""
    engine = configured.start("sendgrid", env, api_key="SG.k", base_url=base_url).engine
    runtime = build_runtime("shop", engine.settings.destination("shop"), engine.settings, engine.client)
    try:
        reply = runtime.exchanger.send(runtime.provider.probe(), None)
        return reply.status if isinstance(reply, Response) else reply.reason
    finally:
        runtime.exchanger.http_client.close()


@CASES.of("CONTACT_INGEST_HTTP_PROXY", "CONTACT_INGEST_CA_FILE")
def the_way_out(configured):
    authority, file = trustme.CA(), configured.folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with (
        Server(answer(), server_tls(authority, "api.example")) as server,
        ConnectProxy({"api.example:443": server.port}) as proxy,
    ):
        url, way = "https://api.example", {"CONTACT_INGEST_HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
        assert reply_to_a_probe(configured, url, **way) == "tls"
        assert reply_to_a_probe(configured, url, **way, CONTACT_INGEST_CA_FILE=str(file)) == 200
        assert reply_to_a_probe(configured, "https://api.example.invalid") == "dns"
        assert len(proxy.asked) == 2


@CASES.of("CONTACT_INGEST_LOG_JSON")
def the_form_of_the_log(configured, capfd):
    assert "INFO contact_ingest.test hello" in log_line(configured, capfd)
    assert orjson.loads(log_line(configured, capfd, CONTACT_INGEST_LOG_JSON="true"))["message"] == "hello"


@CASES.of("CONTACT_INGEST_LOG_LEVEL")
def the_level_of_the_log(configured, capfd):
    assert log_line(configured, capfd, CONTACT_INGEST_LOG_LEVEL="WARNING") == ""


@CASES.of("CONTACT_INGEST_TRAPS")
def the_traps(configured):
    (configured.folder / "tick.found").write_text("KILL")
    program = "from contact_ingest.failpoints import failpoint; failpoint('tick.found')"
    for given, code in (({}, 0), ({"CONTACT_INGEST_TRAPS": str(configured.folder)}, -9)):
        env = {"PYTHONPATH": ":".join(sys.path), **given}
        assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == code


def test_every_documented_setting_has_a_case_and_no_other_has():
    assert set(CASES) == {
        str(field.validation_alias or f"CONTACT_INGEST_{name.upper()}")
        for name, field in Settings.model_fields.items()
        if name != "destinations"
    }


@pytest.mark.parametrize("show", CASES.distinct(), ids=lambda function: function.__name__)
def test_a_setting_changes_what_is_sent_stored_scheduled_or_logged(configured, capfd, show):
    show(*([configured, capfd] if "capfd" in inspect.signature(show).parameters else [configured]))
