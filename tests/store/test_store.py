"""The store under any interleaving of what can happen to it (see state_machine.py), and without memory."""

import pytest
from fakeredis import FakeRedis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis
from redis.exceptions import OutOfMemoryError
from support.peer import Peer, advance, reply, with_http_client
from support.state_machine import PLAIN, StoreMachine

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.pipeline import enqueue
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store import books
from contact_ingest.store.lanes import append
from contact_ingest.transport.auth import AuthenticatedClient


class Roomy(FakeRedis):
    """A stand-in of the server, which has no INFO: it has room for everything."""

    def info(self, section=None):
        assert section == "memory"
        return {"used_memory": 0, "maxmemory": 0, "maxmemory_policy": "noeviction"}


class InMemory(StoreMachine):
    """On a second server of another make, which runs the same scripts by an interpreter of its own."""

    def connect(self):
        return Roomy()


class OnAServer(StoreMachine):
    """On a real server, for truth."""

    url = ""

    def connect(self):
        client = Redis.from_url(self.url)
        client.flushall()
        return client


#: A run takes seconds. Once it has failed, hypothesis makes the example small for up to 300 s: a timeout in the middle
#: of that would be taken for one more failure, and tell of that one.
WITH_TIME_TO_SHRINK = pytest.mark.timeout(600)
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def run(machine, examples, steps=30):
    found = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=CHECKS,
        print_blob=True,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=found)


@WITH_TIME_TO_SHRINK
def test_no_interleaving_of_steps_loses_a_record_or_lets_an_older_one_win():
    run(InMemory, 15)


@WITH_TIME_TO_SHRINK
def test_no_interleaving_of_steps_does_so_on_a_real_server_either(redis_server):
    class Machine(OnAServer):
        url = redis_server.url

    run(Machine, 40)


def test_a_script_that_the_server_has_forgotten_is_sent_again(harness):
    harness.runtime.store.client.script_flush()

    assert harness.runtime.schedule.tick(4).wakeups == ()


def test_a_redis_without_any_memory_left_lets_what_is_cut_drain():
    answers = [reply(429, retry_after="1"), reply(401)]

    def answer(request):
        if request.method == "PUT":
            return answers.pop(0) if answers else reply(202, {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    with EmbeddedServer() as server:
        destination = Destination(platform="sendgrid", api_key="SG.k", base_url="http://127.0.0.1:9")
        settings_ = Settings(REDIS_URL=server.url, max_wait_s=0)
        parts = Engine(settings_.model_copy(update={"destinations": {"sendgrid": destination}}))
        runtime = parts.runtime("sendgrid")
        runtime = with_http_client(runtime, AuthenticatedClient(Peer(answer), runtime.provider, runtime.store))
        records = [{"email": f"p{number}@example.com"} for number in range(500)]
        enqueue.enqueue(records, [(parts.producer.enqueue_options(PLAIN), lambda call: append(runtime.store, call))])
        runtime.aggregator.aggregate("sendgrid")

        for _ in range(8):
            parts.client.config_set("maxmemory", 0)  # the clock is a key too
            advance(runtime, 65)
            parts.client.config_set("maxmemory", 100_000)  # far less than there is
            with pytest.raises(OutOfMemoryError):
                parts.client.set("one", b"more")
            wakeups = {wakeup.kind for wakeup in runtime.schedule.tick(4).wakeups}
            for kind, journey in (("dispatch", runtime.dispatcher.dispatch), ("poll", runtime.poller.poll)):
                if kind in wakeups:
                    journey("sendgrid")

        [lane] = books.read(runtime.store)
        assert lane.counts | {"delivered": 500, "batched": 0} == lane.counts
        parts.close()
