"""`migrate`: moves the keys of an older release to the schema of this one."""

from collections import Counter
from typing import Annotated

import typer
from redis.exceptions import ExecAbortError, NoPermissionError, OutOfMemoryError

from contact_ingest.cli.output import EXIT_WRONG, examples, note, say, show_json
from contact_ingest.engine import current_engine
from contact_ingest.errors import SettingError
from contact_ingest.store.keys import SCHEMA
from contact_ingest.store.migrations.schema_3 import Migration, MigrationRefused, Survey

#: What an ACL user needs beside the commands of a worker.
COMMANDS = "+hscan +renamenx +scan +type"


def register(app: typer.Typer) -> None:
    app.command("migrate", epilog=examples("migrate --dry-run", "migrate"))(migrate)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Give the keys of schema 2 the names of schema 3. Stop all workers and producers first.

    Records stay as they are. A keyspace with batches in flight is refused: drain it with the release that wrote it. A
    migration that was interrupted goes on where it was.
    """
    engine = current_engine()
    done: Counter[str] = Counter()

    def progress(what: str, count: int) -> None:
        done[what] += count
        if what == "keys" and not json:
            note(f"{done['keys']:,} keys renamed")

    migration = Migration(engine.client, engine.settings.key_prefix, progress, engine.destinations)
    try:
        found = migration.survey() if dry_run else migration.run()
    except MigrationRefused as refused:
        if json:
            show_json({"migrated": False, "refused": str(refused)})
        else:
            note(f"refused: {refused}")
        raise typer.Exit(EXIT_WRONG) from None
    except (OutOfMemoryError, ExecAbortError):
        problem = "Redis has no memory left to rename fields: raise maxmemory, then run `contact-ingest migrate` again"
        raise SettingError("REDIS_URL", problem) from None
    except NoPermissionError:
        raise SettingError("REDIS_URL", f"the ACL forbids a command: for the migration, allow {COMMANDS}") from None
    migrated = found.is_needed and not dry_run
    if json:
        show_json({"migrated": migrated, "dry_run": dry_run, **found.public(), "done": dict(done)})
    else:
        _show(found, dry_run=dry_run)


def _show(found: Survey, *, dry_run: bool) -> None:
    if not found.is_needed:
        is_new = found.schema is None
        say(f"Nothing to do: {f'no key lies under {found.prefix}' if is_new else f'the keys are of schema {SCHEMA}'}.")
        return
    for name, counts in found.destinations.items():
        held = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        say(f"{name}: {held}")
    if dry_run:
        say(f"{found.left:,} keys would be renamed. Nothing was changed.")
    else:
        say(f"The keys under {found.prefix} are of schema {SCHEMA} now. Start the workers of this release.")
