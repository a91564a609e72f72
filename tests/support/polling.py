"""Import jobs that are polled by hand, and a platform that says what a test wants of them."""

import orjson
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue

FILE_URL = "https://files.example.com/errors.csv"
HOUR_S = 3600


def person(number, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed.public(contents=False) for failed in harness.runtime.failures}


class Jobs:
    """A platform that takes everything in and then says of its job what a test wants to hear; the last answer stays."""

    def __init__(self, *reports, files=()):
        self.reports, self.files = list(reports), list(files)
        self.peer = Peer(self.answer)

    def answer(self, request):
        if request.method == "PUT":
            return reply(202, {"job_id": "job-1"})
        if request.endpoint == "definitions":
            return reply(200, {"custom_fields": []})
        answers = self.files if request.endpoint == "error_file" else self.reports
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def asked(self, endpoint="job"):
        return sum(request.endpoint == endpoint for request in self.peer.heard)


def job(status, **results):
    return reply(200, {"id": "job-1", "status": status, "results": results})


def facing(harness, *reports, files=(), records=2):
    """Send some records to a platform with these reports; they are on their way when this returns."""
    jobs = Jobs(*reports, files=files)
    speak_to(jobs.peer, harness)
    enqueue(person(n) for n in range(records))
    harness.runtime.aggregator.aggregate("sendgrid")
    harness.runtime.dispatcher.dispatch("sendgrid")
    assert harness.books()["batched"] == records
    return jobs


def poll(harness, after_s=61):
    advance(harness.runtime, after_s)
    return harness.runtime.poller.poll("sendgrid")


def assert_books(harness, **expected):
    assert harness.books() | expected == harness.books()
    harness.assert_books_balance()
