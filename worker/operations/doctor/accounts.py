"""Two accounts at once for one destination: its records would go now to the one, now to the other.

Every worker looks each second, and before it takes its first task. While living workers have different accounts or keys
the destination is stopped; it goes on by itself when one is left, or when a person accepts them.
"""

import logging
from collections.abc import Iterator, Mapping

from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, RuntimeProtocol, wrong
from contact_ingest.store.integrity.accounts import WorkerAccounts, accept, hold, is_conflict, note_account

log = logging.getLogger("contact_ingest.watch")


class AccountGuard:
    """The look of one worker, by its name."""

    def __init__(self, engine: EngineProtocol, name: str) -> None:
        self._engine = engine
        self._name = name
        self._accounts = WorkerAccounts(engine.client, engine.settings.key_prefix)

    def look(self) -> None:
        """Stop destinations for which workers have different accounts, and let go on those for which they have not."""
        runtimes = list(self._engine.runtimes())
        self._accounts.tell(self._name, {runtime.name: runtime.provider.account for runtime in runtimes})
        members = self._engine.workers.members()
        self._accounts.forget_others({self._name, *(member.name for member in members)})
        alive = self._accounts.alive(members, self._name)
        for runtime in runtimes:
            self._look_at(runtime, alive.get(runtime.name, {}))

    def end(self) -> None:
        """This worker takes no more tasks."""
        self._accounts.forget([self._name])

    def _look_at(self, runtime: RuntimeProtocol, workers: Mapping[str, list[str]]) -> None:
        state = runtime.state.read()
        held = state.get("state") == "stopped" and state.get("code") == FailureCode.TWO_ACCOUNTS
        if is_conflict(workers, state):
            if not held:
                says = _says(workers)
                log.critical(
                    "two accounts", extra={"destination": runtime.name, "says": says, "remedy": _remedy(runtime)}
                )
            if state.get("state") != "paused":
                hold(runtime.store, _says(workers))
            return
        if held:
            runtime.state.go_on()
            log.warning("one account again", extra={"destination": runtime.name})
        before = state.get("account", "")
        if len(workers) == 1 and before not in workers:
            [digest] = workers
            note_account(runtime.store, digest, before)
            if before:
                log.warning("the account or its key is another one now", extra={"destination": runtime.name})


def check_accounts(engine: EngineProtocol) -> Iterator[Finding]:
    """Destinations for which living workers have different accounts, or others than this configuration."""
    for runtime in engine.runtimes():
        found = list(conflicts(engine, runtime))
        workers = living_accounts(engine).get(runtime.name, {})
        yield from found
        if not found and workers and runtime.provider.account not in workers:
            says = "all have another account or key than this configuration, or another base_url"
            yield wrong(f"{runtime.name}: workers", says, "give this command and the workers the same configuration")


def conflicts(engine: EngineProtocol, runtime: RuntimeProtocol) -> Iterator[Finding]:
    """A finding if living workers have different accounts for the destination."""
    workers = living_accounts(engine).get(runtime.name, {})
    if is_conflict(workers, runtime.state.read()):
        yield wrong(f"{runtime.name}: workers", _says(workers), _remedy(runtime))


def living_accounts(engine: EngineProtocol) -> dict[str, dict[str, list[str]]]:
    """Destination -> digest of the account -> names of living workers."""
    return WorkerAccounts(engine.client, engine.settings.key_prefix).alive(engine.workers.members())


def accept_living(engine: EngineProtocol, runtime: RuntimeProtocol) -> int:
    """Let the accounts of all living workers work side by side; returns how many these are."""
    digests = living_accounts(engine).get(runtime.name, {})
    accept(runtime.store, digests)
    return len(digests)


def _says(workers: Mapping[str, list[str]]) -> str:
    groups = " and ".join(", ".join(names[:5]) for names in workers.values())
    return f"workers have different accounts, keys or base addresses: {groups}"


def _remedy(runtime: RuntimeProtocol) -> str:
    return (
        f"give all workers the same destinations.{runtime.name} and stop the others; if all are keys of one account: "
        f"`contact-ingest resume --to {runtime.name} --accept-accounts`"
    )
