"""The account's custom field definitions: fetched when needed, created only where that is the policy."""

import pytest


def names(engine):
    engine.runtime.definitions.ready_for({})
    return set(engine.runtime.definitions.cached().by_name)


@pytest.mark.parametrize("policy", ["refuse", "drop"])
def test_a_table_that_another_worker_has_just_fetched_creates_nothing(make_engine, sandbox, policy):
    engine = make_engine(destinations={"sendgrid": {"unknown_fields": policy}})
    engine.runtime.definitions.ready_for({"plan": "pro"})

    assert engine.runtime.definitions.ready_for({"plan": "pro"}) == frozenset()
    assert names(engine) == set()


def test_with_the_policy_to_create_a_missing_field_is_made_with_the_type_of_its_value(make_engine, sandbox):
    engine = make_engine(destinations={"sendgrid": {"unknown_fields": "create"}})
    engine.runtime.definitions.ready_for({"visits": 3})

    assert engine.runtime.definitions.ready_for({"visits": 3}) == {"visits"}
    assert engine.runtime.definitions.cached().by_name["visits"][1] == "Number"


def test_definitions_that_cannot_be_had_are_not_ready(make_engine, sandbox):
    engine = make_engine()
    sandbox.dials(auth_down=True)

    assert engine.runtime.definitions.ready_for({"plan": "pro"}) is None
    assert engine.runtime.schedule.state()["state"] == "stopped"
