"""What the sandbox does to traffic: limits, faults, keys, the journal, and its life as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from support.product import ROOT
from support.waiting import wait_until

from contact_ingest.sandbox.limits import LimitStatus, SlidingWindows
from contact_ingest.sandbox.process import SandboxProcess

PUT = "/v3/marketing/contacts"
FIELDS = "/v3/marketing/field_definitions"
LISTS = "/v3/marketing/lists"
BODY = {"contacts": [{"email": "ann@example.com"}]}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_window_slides_and_refused_requests_do_not_count():
    windows = SlidingWindows()

    def arrive(at: float) -> LimitStatus:
        return windows.arrive("a", "e", at, limit=2, window_s=60.0)

    assert [arrive(at).allowed for at in (0.0, 30.0, 59.0, 60.0, 61.0, 90.0)] == [True, True, False, True, False, True]
    assert arrive(90.5).reset_s == 29.5


def test_each_endpoint_and_account_has_a_window_of_its_own(client, sandbox):
    sandbox.dials(limits={"sendgrid.lists": {"limit": 2, "window_s": 60}})
    assert [client.get(LISTS).status_code for _ in range(3)] == [200, 200, 429]
    assert client.get(FIELDS).status_code == 200
    assert client.get(LISTS, headers={"on-behalf-of": "other"}).status_code == 200
    assert sandbox.totals()["by_note"] == {"limit": 1}


def test_a_window_that_has_passed_lets_requests_in_again(client, sandbox):
    sandbox.dials(limits={"sendgrid.lists": {"limit": 1, "window_s": 0.3}})
    assert [client.get(LISTS).status_code for _ in range(2)] == [200, 429]
    wait_until(lambda: client.get(LISTS).status_code == 200)


def test_every_reply_tells_where_the_limit_stands(client, sandbox):
    first = client.put(PUT, json=BODY)
    assert first.headers["X-RateLimit-Limit"] == "600"
    assert first.headers["X-RateLimit-Remaining"] == "599"
    assert first.headers["X-RateLimit-Reset"] == "60"
    sandbox.dials(limits={"sendgrid.upsert": {"limit": 1, "window_s": 60}}, rate_headers="epoch")
    refused = client.put(PUT, json=BODY)
    assert refused.json() == {"errors": [{"message": "too many requests", "field": None}]}
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert 50 < int(refused.headers["X-RateLimit-Reset"]) - time.time() <= 61
    sandbox.dials(rate_headers="none")
    assert not [name for name in client.put(PUT, json=BODY).headers if "ratelimit" in name]


def test_a_request_counts_on_arrival_not_when_it_is_answered(client, sandbox):
    sandbox.dials(limits={"sendgrid.lists": {"limit": 1, "window_s": 60}}, latency_ms=[500, 500])
    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(client.get(LISTS).status_code))
    slow.start()
    wait_until(lambda: sandbox.totals()["requests"] == 1)
    statuses.append(client.get(LISTS).status_code)
    slow.join()
    assert sorted(statuses) == [200, 429]
    assert statuses[0] == 429


def test_dialled_statuses_come_in_the_platforms_shape_and_act_on_nothing(client, sandbox):
    sandbox.dials(rate_429=1)
    reply = client.put(PUT, json=BODY)
    assert (reply.status_code, reply.headers["X-RateLimit-Remaining"]) == (429, "0")
    sandbox.dials(rate_429=0, rate_5xx=1)
    assert {client.put(PUT, json=BODY).status_code for _ in range(40)} == {500, 502, 503, 504}
    assert sandbox.totals()["contacts"] == 0


def test_a_script_names_the_fate_of_the_next_requests_one_by_one(client, sandbox):
    sandbox.dials(script=["503", "ok", "401"], faults_on=["sendgrid.upsert"], rate_5xx=0)
    assert client.get(LISTS).status_code == 200
    assert [client.put(PUT, json=BODY).status_code for _ in range(4)] == [503, 202, 401, 202]
    assert sandbox.dials()["script"] == []


def test_a_connection_dropped_before_acts_on_nothing(client, sandbox):
    sandbox.dials(drop_before=1)
    with pytest.raises(httpx.TransportError):
        client.put(PUT, json=BODY)
    [entry] = sandbox.journal()
    assert (entry["fate"], entry["status"], entry["job_id"]) == ("drop_before", 0, "")
    assert sandbox.totals()["contacts"] == 0


def test_a_connection_dropped_after_has_acted(client, sandbox):
    sandbox.dials(script=["drop_after"])
    with pytest.raises(httpx.TransportError):
        client.put(PUT, json=BODY)
    [entry] = sandbox.journal()
    assert (entry["fate"], entry["status"], entry["contacts"]) == ("drop_after", 0, 1)
    assert entry["job_id"]
    assert sandbox.totals()["contacts"] == 1


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_can_give_up_on_a_request_that_has_acted(client, sandbox, status):
    sandbox.dials(script=[f"{status}_after"])
    reply = client.put(PUT, json=BODY)
    assert (reply.status_code, "job_id" in reply.json()) == (status, False)
    [entry] = sandbox.journal()
    assert (entry["status"], entry["note"], entry["contacts"]) == (status, "acted", 1)
    assert entry["job_id"]
    assert sandbox.totals()["contacts"] == 1


def test_an_unreadable_success_has_acted_and_holds_no_json(client, sandbox):
    sandbox.dials(unreadable_2xx=1)
    reply = client.put(PUT, json=BODY)
    assert reply.status_code == 202
    with pytest.raises(ValueError, match="Expecting"):
        reply.json()
    assert sandbox.totals()["contacts"] == 1
    assert client.put(PUT, json={}).json()["errors"]


def test_a_black_hole_takes_everything_and_answers_nothing(client, sandbox):
    sandbox.dials(black_hole=True)
    with pytest.raises(httpx.ReadTimeout):
        client.put(PUT, json=BODY, timeout=0.3)
    assert sandbox.journal()[0]["fate"] in ("open", "black_hole")
    sandbox.dials(black_hole=False)
    assert client.put(PUT, json=BODY).status_code == 202


def test_latency_delays_the_act_which_happens_even_if_the_caller_has_gone(client, sandbox):
    sandbox.dials(latency_ms=[400, 400])
    with pytest.raises(httpx.ReadTimeout):
        client.put(PUT, json=BODY, timeout=0.1)
    assert sandbox.totals()["contacts"] == 0
    wait_until(lambda: sandbox.totals()["contacts"] == 1)


def test_with_keys_down_everything_is_401_and_nothing_counts(client, sandbox):
    sandbox.dials(auth_down=True)
    assert [client.put(PUT, json=BODY).status_code, client.get(FIELDS).status_code] == [401, 401]
    sandbox.dials(auth_down=False)
    assert client.put(PUT, json=BODY).headers["X-RateLimit-Remaining"] == "599"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latenci_ms": [0, 1]}, "latenci_ms"),
        ({"latency_ms": [2, 1]}, "latency_ms"),
        ({"rate_429": 1.5}, "rate_429"),
        ({"drop_after": "often"}, "drop_after"),
        ({"script": ["418"]}, "script"),
        ({"error_file_shape": "xml"}, "error_file_shape"),
        ({"limits": {"sendgrid.none": {"limit": 1, "window_s": 1}}}, "sendgrid.none"),
        ({"limits": {"sendgrid.lists": {"limit": 1, "window_s": 0}}}, "limits"),
        ({"faults_on": ["upsert"]}, "faults_on"),
        ({"markers": {"fail_import": "fail"}}, "markers"),
        ({"job_seconds": [5]}, "job_seconds"),
        ({"seed": None}, "seed"),
    ],
)
def test_a_wrong_dial_is_refused_by_name_and_nothing_is_changed(sandbox, changes, named):
    before = sandbox.dials()
    with pytest.raises(ValueError, match=named):
        sandbox.dials(**changes, auth_down=True)
    assert sandbox.dials() == before


def test_the_same_seed_brings_the_same_faults(client, sandbox):
    def statuses() -> list[int]:
        sandbox.dials(seed=7, rate_5xx=0.5)
        return [client.get(LISTS).status_code for _ in range(30)]

    first = statuses()
    assert len(set(first)) > 2
    assert statuses() == first


def test_the_journal_counts_what_arrived_and_holds_no_content(client, sandbox):
    before = time.time()
    sent = client.put(PUT, json=BODY, headers={"on-behalf-of": "sub"})
    [entry] = sandbox.journal()
    assert before <= entry.pop("at") <= time.time()
    assert entry == {
        "n": 1,
        "method": "PUT",
        "endpoint": "sendgrid.upsert",
        "account": "sendgrid:sub",
        "status": 202,
        "bytes": len(sent.request.content),
        "contacts": 1,
        "job_id": sent.json()["job_id"],
        "fate": "answered",
        "note": "",
    }
    client.get(FIELDS)
    assert [later["n"] for later in sandbox.journal(after=1)] == [2]
    totals = sandbox.totals()
    assert totals["by_status"] == {"200": 1, "202": 1}
    assert (totals["requests"], totals["contacts"], totals["max_body_bytes"]) == (2, 1, len(sent.request.content))


def test_many_contacts_are_read_page_by_page_in_the_order_of_creation(client, sandbox):
    for start in (0, 25_000):
        rows = [{"email": f"u{n}@example.com"} for n in range(start, start + 25_000)]
        assert client.put(PUT, json={"contacts": rows}).status_code == 202
    contacts = list(sandbox.contacts())
    assert [contact["n"] for contact in contacts] == list(range(1, 50_001))
    assert contacts[-1]["email"] == "u49999@example.com"


def test_a_reset_forgets_everything_and_turns_the_dials_back(client, sandbox):
    client.put(PUT, json=BODY)
    client.post(FIELDS, json={"name": "a", "field_type": "Text"})
    sandbox.dials(auth_down=True, job_seconds=[9, 9])
    sandbox.reset()
    assert sandbox.journal() == []
    assert list(sandbox.contacts()) == []
    assert (sandbox.dials()["auth_down"], sandbox.dials()["job_seconds"]) == (False, [0, 0])
    assert "custom_fields" not in client.get(FIELDS).json()


def test_a_given_key_is_the_only_one_accepted():
    with SandboxProcess(key="SG.mine") as sandbox:
        for key, status in (("SG.mine", 200), ("SG.other", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(sandbox.url + LISTS, headers=headers, trust_env=False).status_code == status


@pytest.mark.parametrize("dials", [{"black_hole": True}, {"latency_ms": [60_000, 60_000]}])
def test_it_stops_within_a_second_even_with_callers_waiting(dials):
    outcomes = []

    def ask(url: str) -> None:
        try:
            httpx.put(url + PUT, json=BODY, headers={"Authorization": "Bearer SG.x"}, trust_env=False, timeout=20)
        except httpx.TransportError as error:
            outcomes.append(error)

    with SandboxProcess(dials=dials) as sandbox:
        callers = [threading.Thread(target=ask, args=[sandbox.url]) for _ in range(3)]
        for caller in callers:
            caller.start()
        wait_until(lambda: [entry["bytes"] > 0 for entry in sandbox.journal()] == [True] * 3)
        told_at = time.monotonic()
        os.kill(sandbox.pid, signal.SIGTERM)
        wait_until(lambda: not alive(sandbox.pid))
        assert time.monotonic() - told_at < 1
        for caller in callers:
            caller.join()
    assert len(outcomes) == 3


def test_it_is_stopped_when_its_block_fails():
    pids = []

    def fail() -> None:
        with SandboxProcess() as sandbox:
            pids.append(sandbox.pid)
            assert alive(sandbox.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not alive(pids[0])


def test_it_serves_on_a_socket_that_is_handed_over():
    command = [sys.executable, "-m", "contact_ingest.sandbox", "--owner-pid", str(os.getpid()), "--seed", "3"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        fd = ["--fd", str(number)]
        with subprocess.Popen([*command, *fd], stdout=subprocess.PIPE, pass_fds=[number], cwd=ROOT) as process:
            assert process.stdout
            ready = json.loads(process.stdout.readline())
            dials = httpx.get(ready["url"] + "/sandbox/dials", trust_env=False).json()
            process.terminate()
        assert ready == {"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "pid": process.pid}
        assert dials["seed"] == 3


def test_it_does_not_outlive_an_owner_that_is_killed():
    owner = (
        "import time\nfrom contact_ingest.sandbox.process import SandboxProcess\n"
        "with SandboxProcess() as s:\n print(s.pid, flush=True)\n time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    wait_until(lambda: not alive(pid))


def test_a_wrong_dial_at_the_start_is_told_and_the_start_fails():
    with pytest.raises(RuntimeError, match="ended before it was ready"), SandboxProcess(dials={"nonsense": 1}):
        pass


def test_it_is_quiet_and_free_of_warnings_under_faults():
    command = [
        sys.executable,
        "-W",
        "error",
        "-X",
        "dev",
        "-m",
        "contact_ingest.sandbox",
        "--owner-pid",
        str(os.getpid()),
    ]
    script = '--dial=script=["drop_before","drop_after","unreadable","500"]'
    with subprocess.Popen([*command, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        assert process.stderr
        url = json.loads(process.stdout.readline())["url"]
        with httpx.Client(headers={"Authorization": "Bearer SG.x"}, trust_env=False) as client:
            for _ in range(2):
                with pytest.raises(httpx.TransportError):
                    client.put(url + PUT, json=BODY)
            assert [client.put(url + PUT, json=BODY).status_code for _ in range(3)] == [202, 500, 202]
        process.terminate()
        assert process.wait(5) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
