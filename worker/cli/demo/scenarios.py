"""The scenarios of the demonstration: the platforms, a number of contacts that suits their limits, the bad records."""

from collections.abc import Mapping
from dataclasses import dataclass

from contact_ingest.cli.demo.data import BadRecordKind, MadeUpPeople
from contact_ingest.cli.demo.platforms import EMARSYS, LOOPS, SENDGRID, DemoPlatform

ALL_PLATFORMS = ("sendgrid", "loops", "emarsys")
#: The neutral fields that all three platforms have.
SHARED = frozenset({"email", "first_name", "last_name", "custom_fields"})
POSTAL = SHARED | {"address_line_1", "city", "state_province_region", "postal_code", "phone"}

TOO_LONG = "a name that is too long"
NAMED = BadRecordKind("a 400 that quotes the address", "last_name", "[[reject-named]]", "dispatch", ("bad_identifier",))
IN_ERROR_FILE = BadRecordKind("a row in the error file", "last_name", "[[fail-import]]", "poll", ("import_error",))
REFUSED_BY_LOOPS = BadRecordKind("a 400 of Loops", "last_name", "[[loops-400]]", "dispatch", ("http_400",), ("loops",))
REFUSED_ROW = BadRecordKind(
    "a row refused in a success", "last_name", "[[emarsys-2007]]", "dispatch", ("reply_2007",), ("emarsys",)
)
RACE = BadRecordKind("a race, won when sent again", "last_name", "[[emarsys-2009]]", "", (), ("emarsys",))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One stream of records into each of `platforms`. `contacts` and `bad` are the defaults of the options."""

    platforms: tuple[DemoPlatform, ...]
    contacts: int
    bad: int
    kinds: tuple[BadRecordKind, ...]
    fields: frozenset[str]
    second_record_every: int = 40

    def people(self, contacts: int | None, bad: int | None, seed: int) -> MadeUpPeople:
        many = self.contacts if contacts is None else contacts
        few = self.bad if bad is None else bad
        return MadeUpPeople(many, min(few, many), seed, self.kinds, self.fields, self.second_record_every)


SCENARIOS: Mapping[str, Scenario] = {
    "sendgrid": Scenario(
        (SENDGRID,),
        contacts=100_000,
        bad=25,
        fields=POSTAL | {"country"},
        kinds=(
            BadRecordKind(TOO_LONG, "last_name", "x" * 51, "aggregate", ("too_long",)),
            BadRecordKind("a national phone number", "phone", "201-555-0123", "aggregate", ("bad_phone",)),
            NAMED,
            BadRecordKind(
                "a 400 with a row number only", "last_name", "[[reject-index]]", "dispatch", ("bad_identifier",)
            ),
            BadRecordKind("a 400 that names nobody", "last_name", "[[reject-silent]]", "dispatch", ("http_400",)),
            IN_ERROR_FILE,
        ),
    ),
    # Loops allows 10 requests a second, with one contact each.
    "loops": Scenario(
        (LOOPS,),
        contacts=100,
        bad=6,
        fields=SHARED,
        kinds=(
            BadRecordKind(TOO_LONG, "last_name", "x" * 499, "aggregate", ("too_long",), ("loops",)),
            REFUSED_BY_LOOPS,
            BadRecordKind("a 409 of Loops", "last_name", "[[loops-409]]", "dispatch", ("http_409",), ("loops",)),
        ),
        second_record_every=10,
    ),
    # A request to Emarsys has 1,000 contacts at most.
    "emarsys": Scenario(
        (EMARSYS,),
        contacts=5_000,
        bad=25,
        fields=POSTAL,
        kinds=(
            BadRecordKind(TOO_LONG, "last_name", "x" * 61, "aggregate", ("too_long",), ("emarsys",)),
            REFUSED_ROW,
            BadRecordKind("a choice that is not there", "country", "99", "dispatch", ("reply_2007",), ("emarsys",)),
            RACE,
        ),
    ),
    # A record that one platform refuses arrives at the others.
    "all": Scenario(
        (SENDGRID, LOOPS, EMARSYS),
        contacts=100,
        bad=14,
        fields=SHARED,
        kinds=(
            BadRecordKind(TOO_LONG, "last_name", "x" * 499, "aggregate", ("too_long",), ALL_PLATFORMS),
            BadRecordKind("a name too long for SendGrid", "last_name", "x" * 51, "aggregate", ("too_long",)),
            NAMED,
            IN_ERROR_FILE,
            REFUSED_BY_LOOPS,
            REFUSED_ROW,
            RACE,
        ),
        second_record_every=10,
    ),
}
