"""`contact-ingest enqueue` of tables: cells take the types of the account, and what can never work is refused first."""

import httpx
import orjson
import pytest
from support.stage import KEY
from support.stand_in_sendgrid import make_field

LOOPS = {"platform": "loops", "api_key": KEY}


@pytest.fixture
def account(sandbox):
    """An account at SendGrid with a field of each type."""
    with httpx.Client(base_url=sandbox.url, headers={"authorization": f"Bearer {KEY}"}) as client:
        for name, kind in (("visits", "Number"), ("since", "Date"), ("code", "Text")):
            make_field(client, name, kind)
    return sandbox


@pytest.fixture
def to_loops(make_harness, sandbox):
    url = f"{sandbox.url}/api"
    httpx.post(
        f"{url}/v1/contacts/properties",
        json={"name": "isAdmin", "type": "boolean"},
        headers={"authorization": f"Bearer {KEY}"},
    ).raise_for_status()
    return make_harness(destinations={"loops": {**LOOPS, "base_url": url}})


def put(tmp_path, text):
    path = tmp_path / "people.csv"
    path.write_text(text)
    return path


MIXED = """email,custom_fields.visits,custom_fields.since,custom_fields.code,last_name
a@example.com,12,31/12/2025,00042,One
b@example.com,"12,5",2026-01-31,'01001,Two
c@example.com,,03/04/2026,yes,Three
d@example.com,7.5,,="0042",'t Hart
,1,,,Nobody
"""


@pytest.mark.parametrize("fetched", [False, True])
def test_cells_arrive_with_the_types_of_the_account_and_a_bad_cell_fails_alone(
    cli, make_harness, account, tmp_path, fetched
):
    harness = make_harness()
    if fetched:
        harness.runtime.custom_fields.ready_for({})

    said = cli("enqueue", put(tmp_path, MIXED), "--json")
    harness.run_until_settled()

    assert (said.json["accepted"], said.json["refused"]) == (4, 1)
    ids = {name: found[0] for name, found in harness.runtime.custom_fields.cached().by_name.items()}
    stored = {contact["email"]: contact for contact in account.contacts()}
    assert stored["a@example.com"]["custom_fields"] == {
        ids["visits"]: 12,
        ids["since"]: "12/31/2025",
        ids["code"]: "00042",
    }
    assert stored["d@example.com"]["custom_fields"] == {ids["visits"]: 7.5, ids["code"]: "0042"}
    assert stored["d@example.com"]["last_name"] == "'t Hart"
    failed = {orjson.loads(failure.raw)["email"]: failure for failure in harness.runtime.failures}
    assert {email: failure.code for email, failure in failed.items()} == {
        "b@example.com": "bad_number",
        "c@example.com": "bad_date",
    }
    assert "--dates" in failed["c@example.com"].reason
    harness.assert_books_balance()


@pytest.mark.parametrize("fetched", [False, True])
def test_a_dry_run_counts_as_the_run_does(cli, make_harness, account, tmp_path, fetched):
    harness = make_harness(destinations={"sendgrid": {"fields": {"rename": {"last_name": "first_name"}}}})
    if fetched:
        harness.runtime.custom_fields.ready_for({})
    path = put(tmp_path, MIXED)

    dry = cli("enqueue", path, "--dry-run", "--json")
    run = cli("enqueue", path, "--json")
    harness.run_until_settled()

    assert (dry.json["would_accept"], dry.json["refused"]) == (run.json["accepted"], run.json["refused"]) == (4, 1)
    if fetched:
        assert dry.json["would_fail"] == harness.books()["failed"] == 2
        assert [(row["line"], row["field"]) for row in dry.json["first_failing"]] == [
            (3, "custom_fields.visits"),
            (4, "custom_fields.since"),
        ]
    else:
        assert (dry.json["would_fail"], dry.json["needs_fields"]) == (0, 4)


def test_the_order_of_dates_can_be_named_and_stays_in_the_command_that_goes_on(cli, make_harness, account, tmp_path):
    harness = make_harness()

    said = cli("enqueue", put(tmp_path, MIXED), "--dates", "dmy", "--json")
    harness.run_until_settled()

    assert said.code == 1
    [since] = [c["custom_fields"] for c in account.contacts() if c["email"] == "c@example.com"]
    assert "04/03/2026" in since.values()


@pytest.mark.parametrize(
    "target", ["user_group", "subscribed", "opt_in", "mailing_lists.x1", "mailing_lists", "custom_fields.nosuch"]
)
def test_a_column_that_can_never_be_sent_is_refused_first(cli, make_harness, account, tmp_path, target):
    harness = make_harness()
    harness.runtime.custom_fields.ready_for({})
    path = put(tmp_path, "email,Group\na@example.com,yes\n")

    for more in ([], ["--dry-run"]):
        said = cli("enqueue", path, "--map", f"Group={target}", *more)

        assert said.code == 2
        assert said.err.startswith(f"error: column 'Group': {target}: ")
        assert "--map" in said.err
    assert harness.books()["accepted"] == 0


def test_a_field_that_an_older_table_lacks_may_have_been_made_since(cli, make_harness, sandbox, client, tmp_path):
    harness = make_harness()
    harness.runtime.custom_fields.ready_for({})
    key = harness.runtime.store.keys("custom_fields")
    table = orjson.loads(client.get(key))
    client.set(key, orjson.dumps({**table, "fetched_ms": table["fetched_ms"] - 60_000}))
    with httpx.Client(base_url=sandbox.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        field_id = make_field(http, "visits", "Number")

    said = cli("enqueue", put(tmp_path, "email,custom_fields.visits\na@example.com,12\n"))
    harness.run_until_settled()

    assert said.code == 0
    assert [contact["custom_fields"] for contact in sandbox.contacts()] == [{field_id: 12}]


def test_what_the_destination_drops_or_renames_is_no_problem_of_a_column(cli, make_harness, sandbox, tmp_path):
    fields = {"drop": ["user_group"], "rename": {"source": "city"}}
    make_harness(destinations={"sendgrid": {"fields": fields}})

    said = cli(
        "enqueue",
        put(tmp_path, "email,g,s\na@example.com,x,y\n"),
        *["--map", "g=user_group", "--map", "s=source"],
    )

    assert said.code == 0


def test_clear_is_refused_where_the_platform_documents_no_value_for_it(cli, harness, tmp_path):
    said = cli("enqueue", put(tmp_path, "email,city\na@example.com,-\n"), "--clear", "-")

    assert said.code == 2
    assert said.err.startswith("error: --clear: ")
    assert harness.books()["accepted"] == 0


def test_clear_empties_fields_at_loops_and_mapped_consent_is_typed(cli, to_loops, sandbox, tmp_path):
    cli("enqueue", put(tmp_path, "email,first_name,sub\na@example.com,Ann,yes\n"), "--map", "sub=subscribed")
    to_loops.run_until_settled()

    said = cli(
        "enqueue",
        put(tmp_path, "email,first_name,custom_fields.isAdmin,sub\na@example.com,-,YES,0\n"),
        *["--map", "sub=subscribed", "--clear", "-"],
    )
    to_loops.run_until_settled()

    assert said.code == 0
    [contact] = sandbox.contacts("loops")
    assert (contact.get("firstName"), contact["isAdmin"], contact["subscribed"]) == (None, True, False)


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--clear", " "], "--clear"), (["--dates", "ymd"], "--dates ymd"), (["--dates", "DMY"], "--dates DMY")],
)
def test_wrong_options_of_cells_are_refused(cli, harness, tmp_path, options, named):
    said = cli("enqueue", put(tmp_path, "email\na@example.com\n"), *options)

    assert said.code == 2
    assert said.err.startswith(f"error: {named}: ")


def test_a_failed_record_comes_back_through_the_safe_export(cli, make_harness, account, tmp_path):
    harness = make_harness()
    path = put(
        tmp_path,
        "email,phone,custom_fields.visits,custom_fields.code,last_name\n"
        f"a@example.com,+12015550123,12,'=cmd,{'x' * 51}\n",
    )
    cli("enqueue", path)
    harness.run_until_settled()
    out = tmp_path / "failed.csv"
    assert cli("failures", "export", out).code == 0
    content = out.read_text("utf-8-sig").replace("x" * 51, "'t Hart")
    assert "{" not in content
    again = put(tmp_path, content)

    said = cli("enqueue", again)
    harness.run_until_settled()

    assert said.code == 0
    [contact] = account.contacts()
    assert (contact["phone_number"], contact["last_name"]) == ("+12015550123", "'t Hart")
    assert sorted(map(str, contact["custom_fields"].values())) == ["12", "=cmd"]


def test_an_export_of_failures_as_json_lines_is_read_as_its_contacts(cli, make_harness, account, tmp_path):
    harness = make_harness()
    cells = f"email,phone,custom_fields.visits,last_name\na@example.com,+12015550123,12,{'x' * 51}\n"
    cli("enqueue", put(tmp_path, cells))
    harness.run_until_settled()
    out = tmp_path / "failed.jsonl"
    assert cli("failures", "export", out).code == 0
    out.write_text(out.read_text().replace("x" * 51, "Short"))

    said = cli("enqueue", out)
    harness.run_until_settled()

    assert said.code == 0
    assert "contact-ingest retry sends them again" in said.out
    [contact] = account.contacts()
    assert (contact["phone_number"], contact["last_name"]) == ("+12015550123", "Short")
    assert list(contact["custom_fields"].values()) == [12]
