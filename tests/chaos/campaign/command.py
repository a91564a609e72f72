"""The campaign as a command: options in, progress on standard error, a table or JSON out; exit 1 if a promise broke."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import gateway_faults
import loss
import platform_faults
import process_faults
import record_faults
import redis_faults
from plan import Kind, RunPlan, plan_run
from platforms import PLATFORMS
from report import Report
from rich.console import Console
from run import Result, run, world_seed
from traffic import fingerprint

KINDS: Sequence[Kind] = (
    *process_faults.KINDS,
    *redis_faults.KINDS,
    *platform_faults.KINDS,
    *gateway_faults.KINDS,
    *record_faults.KINDS,
)
NAMES = [kind.name for kind in KINDS]
#: What a full campaign is: so many runs, so long each, so many faults in all.
RUNS, SECONDS, FAULTS = 9, 60.0, 1_476
#: Starting and coming to rest, a run.
BESIDE_S = 18.0


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    kinds = [kind for kind in KINDS if kind.name in (options.only or NAMES) and kind.name not in options.without]
    seconds = options.seconds
    if options.minutes is not None:
        seconds = max(10.0, options.minutes * 60 / options.runs - BESIDE_S)
    chosen, of_all = (sum(kind.weight for kind in those) for those in (kinds, KINDS))
    faults = (options.faults or FAULTS * chosen / of_all) / options.runs
    numbers = range(options.first_run, options.first_run + options.runs)
    plans = [
        plan_run(
            kinds,
            seed=options.seed,
            number=number,
            platform=_platform(options.platform, number),
            seconds=seconds,
            faults=faults,
        )
        for number in numbers
    ]
    if options.dry_run:
        print(json.dumps([_told(plan) for plan in plans], indent=1))
        return 0
    signal.signal(signal.SIGTERM, _stop)
    directory = Path(options.keep or tempfile.mkdtemp(prefix="campaign-"))
    try:
        report = _runs(plans, directory, Report(options.seed, KINDS), broken=options.sabotage)
        if not options.only and not options.no_loss and options.platform in ("all", "sendgrid"):
            report.losses = loss.measure(directory / "loss", seed=options.seed)
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(report.as_dict(), indent=1) if options.json else report)
    return 1 if report.breaches else 0


def _platform(chosen: str, number: int) -> str:
    """The platform of a run. Of all platforms, each has three runs at a time: two without a replica and one with."""
    return [*PLATFORMS][number // 3 % len(PLATFORMS)] if chosen == "all" else chosen


def _told(plan: RunPlan) -> dict[str, object]:
    return {**plan.as_dict(), "traffic": fingerprint(world_seed(plan), PLATFORMS[plan.platform].dialect)}


def _stop(*_: object) -> None:
    """Told to stop, it takes everything that it has started with it, however often it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _runs(plans: Sequence[RunPlan], directory: Path, report: Report, *, broken: bool) -> Report:
    console = Console(stderr=True)
    with console.status("") as status:
        for plan in plans:
            replica = ", with a replica" if plan.replicated else ""
            where = f"run {plan.number + 1}, {plan.platform}, seed {plan.seed}{replica}"
            result = run(
                plan,
                directory / f"run-{plan.number}",
                lambda what, where=where: status.update(f"{where}: {what}"),  # type: ignore[misc]
                broken=broken,
            )
            report.add(result)
            console.print(_line(result))
            for breach in result.verdict.breaches[:50]:
                console.print(f"  {breach}", style="red", markup=False)
    return report


def _line(result: Result) -> str:
    verdict, plan = result.verdict, result.plan
    told = ", ".join(f"{name} {count}" for name, count in verdict.counts.items())
    return (
        f"{time.strftime('%H:%M:%S')} run {plan.number + 1}, {plan.platform}: {sum(result.struck.values())} of "
        f"{len(plan.faults)} faults struck, {verdict.records:,} records in {result.seconds:.0f} s: {told}, "
        f"repeated {verdict.repeated}, longest recovery {result.longest_s:.1f} s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="the same seed: the same traffic, the same faults")
    parser.add_argument("--platform", choices=["all", *PLATFORMS], default="all", help="of which (default all)")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"one after the other (default {RUNS})")
    parser.add_argument("--first-run", type=int, default=0, help="begin with this one, counted from 0")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of faults, each run (default {SECONDS:.0f})")
    parser.add_argument("--minutes", type=float, help="about so long in all, instead of --seconds")
    parser.add_argument("--faults", type=int, help=f"planned in all (default {FAULTS:,} of all kinds)")
    parser.add_argument("--only", action="append", choices=NAMES, help="faults of this kind")
    parser.add_argument("--without", action="append", choices=NAMES, default=[], help="no faults of this kind")
    parser.add_argument("--sabotage", action="store_true", help="break promises on purpose; the checker must see it")
    parser.add_argument("--dry-run", action="store_true", help="print the schedule, and do nothing")
    parser.add_argument("--no-loss", action="store_true", help="do not measure what a failover may lose")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    parser.add_argument("--keep", help="a directory for logs and data, which stay there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
