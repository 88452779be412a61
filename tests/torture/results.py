"""The figures of full runs: kept as JSON beside this file, and shown in docs/reliability.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.torture.plan import Outcome

_ROOT: Final = Path(__file__).resolve().parents[2]
_DIRECTORY: Final = Path(__file__).parent / "results"
_PAGE: Final = _ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- torture:begin -->", "<!-- torture:end -->"
_MARKED: Final = re.compile(re.escape(_BEGIN) + ".*" + re.escape(_END), re.DOTALL)


def save(group: str, seed: int, seconds: float, outcomes: list[Outcome]) -> None:
    """Keep what a full run of a group found."""
    _DIRECTORY.mkdir(exist_ok=True)
    record = {"seed": seed, "seconds": round(seconds), "outcomes": [asdict(outcome) for outcome in outcomes]}
    (_DIRECTORY / f"{group}.json").write_text(json.dumps(record, indent=2) + "\n")


def report() -> None:
    """Put the tables of all groups between the markers of the page."""
    tables = [_table(file.stem, json.loads(file.read_text())) for file in sorted(_DIRECTORY.glob("*.json"))]
    block = f"{_BEGIN}\n\n" + "\n\n".join(tables) + f"\n\n{_END}"
    _PAGE.write_text(_MARKED.sub(lambda _: block, _PAGE.read_text()))


def _table(group: str, record: dict[str, Any]) -> str:
    return "\n".join(_lines(group, record))


def _lines(group: str, record: dict[str, Any]) -> Iterator[str]:
    yield f"**{group.replace('_', ' ')}** (seed {record['seed']}, {record['seconds']} s)"
    yield ""
    yield "| what was done | times | did not hold | |"
    yield "|---|--:|--:|---|"
    for outcome in record["outcomes"]:
        yield f"| {outcome['what']} | {outcome['points']:,} | {len(outcome['failures'])} | {outcome['note']} |"
