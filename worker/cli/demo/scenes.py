"""The demonstration's scenes: where contacts go, how many suit that place's limits, and how bad ones are bad."""

from collections.abc import Mapping
from dataclasses import dataclass

from contact_ingest.cli.demo.data import Kind, People
from contact_ingest.cli.demo.platforms import EMARSYS, LOOPS, SENDGRID, Platform

EVERYWHERE = ("sendgrid", "loops", "emarsys")
#: The fields that all three platforms have.
SHARED = frozenset({"email", "first_name", "last_name", "custom_fields"})
POSTAL = SHARED | {"address_line_1", "city", "state_province_region", "postal_code", "phone"}

TOO_LONG = "a name that is too long"
NAMED = Kind("a 400 that quotes the address", "last_name", "[[reject-named]]", "dispatch", ("bad_identifier",))
IN_ERROR_FILE = Kind("a row in the error file", "last_name", "[[fail-import]]", "poll", ("import_error",))
REFUSED_BY_LOOPS = Kind("a 400 of Loops", "last_name", "[[loops-400]]", "dispatch", ("http_400",), ("loops",))
REFUSED_ROW = Kind(
    "a row refused in a success", "last_name", "[[emarsys-2007]]", "dispatch", ("reply_2007",), ("emarsys",)
)
RACE = Kind("a race, won when sent again", "last_name", "[[emarsys-2009]]", "", (), ("emarsys",))


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown: one stream of records into each of `platforms`. `contacts` and `bad` are for want of others."""

    platforms: tuple[Platform, ...]
    contacts: int
    bad: int
    kinds: tuple[Kind, ...]
    fields: frozenset[str]
    twice_every: int = 40

    def people(self, contacts: int | None, bad: int | None, seed: int) -> People:
        many = self.contacts if contacts is None else contacts
        few = self.bad if bad is None else bad
        return People(many, min(few, many), seed, self.kinds, self.fields, self.twice_every)


SCENES: Mapping[str, Scene] = {
    "sendgrid": Scene(
        (SENDGRID,),
        contacts=100_000,
        bad=25,
        fields=POSTAL | {"country"},
        kinds=(
            Kind(TOO_LONG, "last_name", "x" * 51, "aggregate", ("too_long",)),
            Kind("a national phone number", "phone", "201-555-0123", "aggregate", ("bad_phone",)),
            NAMED,
            Kind("a 400 with a row number only", "last_name", "[[reject-index]]", "dispatch", ("bad_identifier",)),
            Kind("a 400 that names nobody", "last_name", "[[reject-silent]]", "dispatch", ("http_400",)),
            IN_ERROR_FILE,
        ),
    ),
    # 10 requests a second are allowed, with one contact each.
    "loops": Scene(
        (LOOPS,),
        contacts=100,
        bad=6,
        fields=SHARED,
        kinds=(
            Kind(TOO_LONG, "last_name", "x" * 499, "aggregate", ("too_long",), ("loops",)),
            REFUSED_BY_LOOPS,
            Kind("a 409 of Loops", "last_name", "[[loops-409]]", "dispatch", ("http_409",), ("loops",)),
        ),
        twice_every=10,
    ),
    # Requests have 1,000 contacts at most.
    "emarsys": Scene(
        (EMARSYS,),
        contacts=5_000,
        bad=25,
        fields=POSTAL,
        kinds=(
            Kind(TOO_LONG, "last_name", "x" * 61, "aggregate", ("too_long",), ("emarsys",)),
            REFUSED_ROW,
            Kind("a choice that is not there", "country", "99", "dispatch", ("reply_2007",), ("emarsys",)),
            RACE,
        ),
    ),
    # What one platform refuses arrives at the others.
    "all": Scene(
        (SENDGRID, LOOPS, EMARSYS),
        contacts=100,
        bad=14,
        fields=SHARED,
        kinds=(
            Kind(TOO_LONG, "last_name", "x" * 499, "aggregate", ("too_long",), EVERYWHERE),
            Kind("a name too long for SendGrid", "last_name", "x" * 51, "aggregate", ("too_long",)),
            NAMED,
            IN_ERROR_FILE,
            REFUSED_BY_LOOPS,
            REFUSED_ROW,
            RACE,
        ),
        twice_every=10,
    ),
}
