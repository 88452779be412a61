"""The records that the benchmarks write: JSON, one file for each benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import facts


@dataclass(frozen=True)
class Figure:
    """One number against what it should reach (at most `reach`; None where nothing was promised)."""

    name: str
    value: float
    reach: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.reach is None else self.value <= self.reach


@dataclass
class Results:
    """What one benchmark found: figures to be read, and the measurements behind them."""

    bench: str
    parameters: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    measurements: list[dict[str, Any]] = field(default_factory=list)

    def write(self, directory: Path) -> Path:
        """Write `directory/<bench>.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        document = {
            "bench": self.bench,
            "machine": facts.machine(),
            "parameters": self.parameters,
            "figures": [{**asdict(figure), "met": figure.met} for figure in self.figures],
            "measurements": self.measurements,
        }
        path = directory / f"{self.bench}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """Every benchmark's document under `directory`, by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
