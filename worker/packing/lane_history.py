"""What is known of a lane and of its account when one of its batches is claimed: read by the claim, used by `decide`.

A refusal that names nobody may be the fault of one row, of the lane, or of the account. What came before tells them
apart: see the rules in pipeline/decide.py. Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Self

from contact_ingest.model.batch import Batch
from contact_ingest.model.row_ranges import size

#: Rows of one lane that were refused alone, alike, one after the other and without an acceptance in between, that stop
#: the lane. Where the lane is known to work, the first of them fail, and it takes more of them.
ALIKE = 3
ALIKE_PROVEN = 5
#: How long a refusal that may concern the account is remembered, ms.
ACCOUNT_DOUBT_MS = 900_000
#: Values in a platform's text: quoted texts, addresses of the web and of people, words with a digit.
_VALUES = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\bhttps?://\S+|\S*@\S*|\S*\d\S*""")
PATTERN_CHARS = 200


@dataclass(frozen=True, slots=True)
class LaneHistory:
    """`accepted_ms` is when the platform last accepted something of the lane, 0 for never. `doubt` is the likeness of
    the rows that were refused alone since, and `doubts` their number. `stop_kind` is empty, or why the platform has
    stopped the lane: then the batch is its trial. `account_doubt` is the likeness of a refusal that may concern the
    account, which the root batch `account_root` of lane `account_lane` met at `account_ms`. `lanes` is the number of
    lanes of the destination. Moments are ms of the server's clock."""

    accepted_ms: int = 0
    doubt: str = ""
    doubts: int = 0
    stop_kind: str = ""
    account_doubt: str = ""
    account_lane: str = ""
    account_root: int = 0
    account_ms: int = 0
    lanes: int = 1

    @classmethod
    def read(cls, values: Sequence[bytes]) -> Self:
        """The history as `batch_claim.lua` returns it: nine texts, empty where nothing is known."""
        accepted, doubt, doubts, kind, account, lane, root, at, lanes = (value.decode() for value in values)
        return cls(
            int(accepted or 0), doubt, int(doubts or 0), kind, account, lane, int(root or 0), int(at or 0), int(lanes)
        )

    def alike(self, doubt: str) -> int:
        """How many rows were refused alone like this since the lane's last acceptance."""
        return self.doubts if self.doubt == doubt else 0


def pattern_of(reason: str) -> str:
    """A platform's text without values. Example: `list 'a1' of ann@example.com is full` is `list … of … is full`."""
    return " ".join(_VALUES.sub("…", reason).split())[:PATTERN_CHARS]


def likeness(code: str, reason: str) -> str:
    """What refusals have in common that are alike: 16 hexadecimal characters of a digest of code and pattern."""
    return blake2b(f"{code}\n{pattern_of(reason)}".encode(), digest_size=8).hexdigest()


def why_in_doubt(code: str, reason: str) -> str:
    """What to look at when rows of a lane were refused alike."""
    said = pattern_of(reason) or "no reason is given"
    return (
        f"the platform refuses every record of the lane alike ({code}: {said}). Check the lane's options, the limits "
        "of the account and base_url; one record that is accepted ends the stop"
    )


class Judgement(Enum):
    """What follows from the refusal of a row alone."""

    #: The row is bad: others of its lane are accepted.
    FAILS = 1
    #: Perhaps the row, perhaps the lane: another row of the body goes alone next.
    ACCUSED = 2
    #: Perhaps the row, perhaps the lane, and the body has no other row: other bodies of the lane go first.
    PUT_BEHIND = 3
    #: Too many different rows were refused alike: the lane is the matter.
    STOPS_LANE = 4


def judge_row(batch: Batch, history: LaneHistory, doubt: str) -> Judgement:
    """What the refusal of the one row in `batch.bisect.sending` means, which is like `doubt`."""
    bisect, alike = batch.bisect, history.alike(doubt)
    known_to_work = bisect.accepted or 0 < batch.accused_ms < history.accepted_ms
    came_again = batch.accused_ms > 0 and size(bisect.all) == 1
    if known_to_work and (came_again or alike < ALIKE):
        return Judgement.FAILS
    if batch.put_behind:  # this row is one of those that were counted; the lane had time for others
        return Judgement.STOPS_LANE if alike >= ALIKE else Judgement.FAILS
    if alike + 1 >= (ALIKE_PROVEN if known_to_work else ALIKE):
        return Judgement.STOPS_LANE
    has_others = size(bisect.sending) + size(bisect.accused) < size(bisect.all)
    return Judgement.ACCUSED if has_others else Judgement.PUT_BEHIND
