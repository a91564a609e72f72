"""What stands in front of a platform and answers in its place, and what the platform says of a lane or of the account
and not of a record. Nobody may be blamed for any of it, and what is not concerned goes on."""

import re
from collections.abc import Callable

from plan import Kind, Turn
from platform_faults import is_stopped, until
from platforms import http_reply
from support.proxy import unchanged
from world import World

#: How long such a thing lasts, s.
LASTS_S = (0.8, 3.0)
#: How long a record may stand in a backlog before it is sent, s.
BACKLOG_S = 20.0
#: Any number of requests.
ALL = 10**9
PAGE = "<html><head><title>Request blocked</title></head><body><h1>Access denied</h1></body></html>"
PAGES = (
    http_reply(403, PAGE, "text/html"),
    http_reply(400, PAGE, "text/html"),
    http_reply(403, "blocked by policy", "text/plain"),
    http_reply(400, '{"error": "bad request", "support_id": "1234567890"}', "application/json"),
    http_reply(403, "", "text/plain"),
    http_reply(429, PAGE, "text/html"),
)
#: Replies to a request for an error file that is not there yet.
NOT_YET = (
    http_reply(404, "<Error><Code>NoSuchKey</Code></Error>", "application/xml"),
    http_reply(403, "<Error><Code>AccessDenied</Code></Error>", "application/xml"),
    http_reply(200, "", "text/csv"),
    http_reply(202, "", "text/plain"),
)
ERROR_FILE = b"GET /files/"
#: Rate headers, and what a proxy or a mistake makes of them.
HEADERS = (
    (rb"(?i)(x-ratelimit-reset: )[^\r]*", rb"\g<1>1795600000000"),
    (rb"(?i)(x-ratelimit-reset: )[^\r]*", rb"\g<1>99999999999999999999999"),
    (rb"(?i)(x-ratelimit-(?:reset|remaining): )[^\r]*", rb"\g<1>-5"),
    (rb"(?i)(x-ratelimit-reset: )[^\r]*", rb"\g<1>soon"),
    (rb"(?i)(x-ratelimit-limit: )[^\r]*", rb"\g<1>1e400"),
    (rb"(?i)(x-ratelimit-limit: )[^\r]*", rb"\g<1>0"),
)
#: Those of a platform that says nothing of a reset.
BARE_HEADERS = HEADERS[4:]

Choice = Callable[[World, Turn], bytes]


def _page(_: World, turn: Turn) -> bytes:
    return bytes(turn.of(PAGES))


def _quota(world: World, turn: Turn) -> bytes:
    return bytes(turn.of(world.platform.quotas))


def _answers(name: str, choose: Choice) -> Callable[[World, Turn], str | None]:
    """Every upsert is answered so for a while; then somebody says that it works again."""

    def inflict(world: World, turn: Turn) -> str | None:
        with world.lock("answer"), world.standing():
            trouble = world.http.answer(choose(world, turn), world.platform.upsert, ALL)
            struck = until(world, lambda: trouble.left < ALL)
            world.rest(turn.draw.uniform(*LASTS_S))
            world.http.forgive(trouble)
            _resume(world)
            return name if struck else None

    return inflict


def _firewall(world: World, turn: Turn) -> str | None:
    """Dislikes one record, for longer than the others can wait."""
    call = world.traffic(f"disliked-{turn.ordinal}-{turn.draw.randrange(10**6)}").lone()
    [made] = call.made
    trouble = world.http.answer(bytes(turn.of(PAGES[:4])), made.contact.encode(), ALL)
    world.enqueue(call)
    struck = until(world, lambda: trouble.left < ALL, BACKLOG_S)
    world.rest(turn.draw.uniform(3, 6))
    world.http.forgive(trouble)
    return "firewall" if struck else None


def _list_gone(world: World, turn: Turn) -> str | None:
    """The list of the second lane is deleted, and made again later."""
    gone, back = {"lists_gone": [world.list_id]}, {"lists_gone": []}
    if world.platform.name == "emarsys":
        gone, back = {"emarsys_lists": []}, {"emarsys_lists": [int(world.list_id)]}
    traffic = world.traffic(f"joining-{turn.ordinal}-{turn.draw.randrange(10**6)}")
    with world.lock("list"):
        before = world.journal.met["list"]
        world.dial(**gone, **({"list_error": turn.of(("invalid_json", "named"))} if world.platform.has_jobs else {}))
        lane, _ = world.enqueue(traffic.joining())
        struck = until(world, lambda: world.journal.met["list"] > before)
        world.rest(turn.draw.uniform(*LASTS_S))
        world.dial(**back)
        world.operator.order("resume", lane=lane)
        _resume(world)
        return "list_gone" if struck else None


def _headers(world: World, turn: Turn) -> str | None:
    pattern, instead = turn.of(BARE_HEADERS if world.platform.name == "loops" else HEADERS)
    found = []

    def rewrite(piece: bytes) -> bytes:
        changed, count = re.subn(pattern, instead, piece)
        found.append(count)
        return changed

    with world.lock("headers"):
        world.http.rewrite = rewrite
        struck = until(world, lambda: any(found))
        world.rest(turn.draw.uniform(0.2, 0.6))
        world.http.rewrite = unchanged
        return "headers" if struck else None


def _ids_left_out(world: World, turn: Turn) -> str | None:
    with world.lock("ids"):
        before = world.journal.bodies
        world.dial(emarsys_ids_left_out=turn.draw.randint(1, 3))
        struck = until(world, lambda: world.journal.bodies > before)
        world.dial(emarsys_ids_left_out=0)
        return "ids_left_out" if struck else None


def _tokens_revoked(world: World, turn: Turn) -> str | None:
    with world.lock("401"):
        before = world.journal.met["401"]
        world.dial(emarsys_tokens_revoked=turn.ordinal + 1 + turn.draw.randrange(10**6))
        return "tokens_revoked" if until(world, lambda: world.journal.met["401"] > before) else None


def _reply_code(world: World, turn: Turn) -> str | None:
    """The next upserts fail as a whole, by a reply code that passes by itself."""
    status, code = turn.of(((400, 2001), (500, 2011), (503, 1), (200, 2009)))
    with world.lock("reply code"):
        before = world.journal.met["reply code"]
        world.dial(emarsys_reply_status=status, emarsys_reply_codes=[code] * turn.draw.randint(1, 3))
        return "reply_code" if until(world, lambda: world.journal.met["reply code"] > before) else None


def _file_not_yet(world: World, turn: Turn) -> str | None:
    with world.lock("file not yet"):
        trouble = world.http.answer(turn.of(NOT_YET), ERROR_FILE, turn.draw.randint(1, 2))
        count = trouble.left
        struck = until(world, lambda: trouble.left < count)
        world.rest(1.0)
        world.http.forgive(trouble)
        return "file_not_yet" if struck else None


def _resume(world: World) -> None:
    """A reply that was on its way may stop the destination once more."""
    for _ in range(10):
        if is_stopped(world):
            world.operator.order("resume", lane=None)
        world.rest(0.1)
    for lane in {sent.lane for sent in world.history.sent[-500:]}:
        world.operator.order("resume", lane=lane)


KINDS = (
    Kind("gateway_page", "a gateway's page or text in the platform's place", _answers("gateway_page", _page), 1.3),
    Kind("firewall", "a firewall that dislikes one record", _firewall, 1.3),
    Kind("quota", "a refusal of everything alike (quota)", _answers("quota", _quota), 1.3),
    Kind(
        "list_gone", "the list of one lane deleted, and made again", _list_gone, 1.3, platforms=("sendgrid", "emarsys")
    ),
    Kind("headers", "absurd rate headers", _headers),
    Kind("ids_left_out", "ids left out of a reply", _ids_left_out, platforms=("emarsys",)),
    Kind("tokens_revoked", "all access tokens revoked", _tokens_revoked, platforms=("emarsys",)),
    Kind("reply_code", "a reply code for the whole request", _reply_code, 1.3, platforms=("emarsys",)),
    Kind("file_not_yet", "error file that is not there yet", _file_not_yet, 1.3, platforms=("sendgrid",)),
)
