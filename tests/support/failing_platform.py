"""A platform that fails on purpose, and a clock that is turned."""

import orjson
from support.peer import Peer, reply, speak_to

from contact_ingest.model.http_message import RateHeaders

HEADERS = RateHeaders()
HOUR_S = 3600


class Platform:
    """All of a platform behind one switch; `heard` maps simulated moments to what was asked."""

    def __init__(self, harness, broken=lambda request: False):
        self.harness, self.broken = harness, broken
        self.heard, self.people = [], []
        speak_to(Peer(self.answer), harness, custom_fields=True)

    def answer(self, request):
        self.heard.append((self.harness.runtime.clock.now_ms(), request.endpoint))
        if broken := self.broken(request):
            return reply(503) if broken is True else broken
        if request.method == "PUT":
            self.people += [contact["email"] for contact in orjson.loads(b"".join(request.body))["contacts"]]
            return reply(202, {"job_id": f"job-{len(self.heard)}"})
        return reply(200, {"status": "completed"} if request.endpoint == "job" else {"custom_fields": []})

    def go_down(self, answer=True):
        self.broken = lambda request: answer

    def come_back(self):
        self.broken = lambda request: False

    def asked(self, *endpoints):
        return [endpoint for _, endpoint in self.heard if endpoint in endpoints or not endpoints]


def fail(rate_limiter, endpoint="upsert", times=5, how="failed"):
    for _ in range(times):
        permit = rate_limiter.acquire(endpoint)
        assert permit.granted
        rate_limiter.report(permit, HEADERS, result=how)


def is_open(harness):
    return harness.runtime.breaker.state().open_until is not None
