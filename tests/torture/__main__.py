"""The command: run groups, break the product on purpose, or renew the page of figures."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.torture import __doc__ as usage
from tests.torture import mutations, registry, results
from tests.torture.plan import Mutation, Plan

_TRIES: Final = 10
"""Seeds, for groups that do a few things of very many at random."""
_TIMED: Final = ("rebuild",)
"""Compares speeds, so nothing else may run."""


def main() -> int:
    """Exit status 1 if anything did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(registry.names())}")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes; nothing is kept")
    parser.add_argument("--mutations", action="store_true", help="break the product on purpose")
    parser.add_argument("--report", action="store_true", help="renew docs/reliability.md")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many groups at once")
    parser.add_argument("--work", type=Path, default=None, help="a directory to work in")
    options = parser.parse_args()
    if options.report:
        results.report()
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    groups = options.groups or registry.names()
    print(f"seed {seed}", flush=True)
    if options.jobs > 1:
        return 0 if side_by_side(groups, seed, options) else 1
    action = break_it if options.mutations else torture
    held = [action(group, seed, options) for group in groups]
    return 0 if all(held) else 1


def side_by_side(groups: Sequence[str], seed: int, options: argparse.Namespace) -> bool:
    """Run groups in processes of their own, so many at once, and what compares speeds after them; whether all held."""

    def run(group: str) -> bool:
        command = [sys.executable, "-m", "tests.torture", "--seed", str(seed), group]
        command += ["--short"] * options.short + ["--mutations"] * options.mutations
        command += ["--work", str(options.work)] if options.work is not None else []
        return subprocess.run(command, check=False).returncode == 0

    together = [group for group in groups if group not in _TIMED]
    with ThreadPoolExecutor(options.jobs) as pool:
        held = list(pool.map(run, together))
    return all(held + [run(group) for group in groups if group in _TIMED])


def torture(group: str, seed: int, options: argparse.Namespace) -> bool:
    """Run one group; whether all held."""
    begun = time.monotonic()
    outcomes = []
    with work_in(options.work) as work:
        for outcome in registry.load(group).run(Plan(seed, work, options.short)):
            outcomes.append(outcome)
            print(
                f"{group}: {outcome.what}: {outcome.points} times, {len(outcome.failures)} failures {outcome.note}",
                flush=True,
            )
            for failure in outcome.failures[:10]:
                print(f"    {failure}", flush=True)
    if not options.short:
        results.save(group, seed, time.monotonic() - begun, outcomes)
    return not any(outcome.failures for outcome in outcomes)


def break_it(group: str, seed: int, options: argparse.Namespace) -> bool:
    """Try each mutation of one group; whether all were noticed."""
    with work_in(options.work) as work:
        all_noticed = mutations.holds_unbroken(group, seed, work)
    if not all_noticed:
        print(f"{group}: without any fault it does NOT HOLD", flush=True)
    for mutation in registry.load(group).MUTATIONS:
        noticed = any(is_noticed(group, mutation, seed + number, options) for number in range(_TRIES))
        print(f"{group}: {mutation.what}: {'noticed' if noticed else 'NOT NOTICED'}", flush=True)
        all_noticed = all_noticed and noticed
    return all_noticed


def is_noticed(group: str, mutation: Mutation, seed: int, options: argparse.Namespace) -> bool:
    """Whether one run of the short form notices a fault."""
    with work_in(options.work) as work:
        return mutations.is_noticed(group, mutation, seed, work)


@contextmanager
def work_in(parent: Path | None) -> Iterator[Path]:
    """An empty directory, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="casstore-torture-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
