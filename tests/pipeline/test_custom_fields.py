"""The account's custom field definitions: fetched when needed, created only where that is the policy."""

import pytest


def names(harness):
    harness.runtime.custom_fields.ready_for({})
    return set(harness.runtime.custom_fields.cached().by_name)


@pytest.mark.parametrize("policy", ["refuse", "drop"])
def test_a_table_that_another_worker_has_just_fetched_creates_nothing(make_harness, sandbox, policy):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": policy}})
    harness.runtime.custom_fields.ready_for({"plan": "pro"})

    assert harness.runtime.custom_fields.ready_for({"plan": "pro"}) == frozenset()
    assert names(harness) == set()


def test_with_the_policy_to_create_a_missing_field_is_made_with_the_type_of_its_value(make_harness, sandbox):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": "create"}})
    harness.runtime.custom_fields.ready_for({"visits": 3})

    assert harness.runtime.custom_fields.ready_for({"visits": 3}) == {"visits"}
    assert harness.runtime.custom_fields.cached().by_name["visits"][1] == "Number"


def test_definitions_that_cannot_be_had_are_not_ready(make_harness, sandbox):
    harness = make_harness()
    sandbox.dials(auth_down=True)

    assert harness.runtime.custom_fields.ready_for({"plan": "pro"}) is None
    assert harness.runtime.state.read()["state"] == "stopped"
