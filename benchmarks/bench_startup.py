"""How long the small commands take, beside Python itself: imports that are not needed must not be paid for."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from statistics import median

from benchmarks.results import Figure, Results
from benchmarks.workplace import Workplace, from_arguments, scratch

COMMANDS = {"--version": 0.25, "list": 0.4, "info": 0.4, "info ada-002": 0.4}  # seconds that are allowed
TIMES_AS_MANY_RUNS = 4  # these commands are short, and noise is not


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    results = Results("startup", workplace.parameters())
    with scratch(workplace.work / "startup") as work:
        casmodels = workplace.casmodels(work / "store")
        corpus = workplace.corpus()
        for member in corpus.members[:3]:
            workplace.run(casmodels.put(corpus.directory(member.name), member.name))
        store = quote(str(casmodels.place))
        scripts = {command: f"{quote(str(workplace.program))} --store {store} {command}" for command in COMMANDS}
        scripts["--version"] = f"{quote(str(workplace.program))} --version"
        # The interpreter that runs casmodels, with the same packages around it.
        scripts["python -c pass"] = f"{quote(str(workplace.program.parent / 'python'))} -c pass"
        for name, seconds in in_turns(workplace, scripts).items():
            results.measurements.append({"command": name, "all_wall_seconds": [round(value, 4) for value in seconds]})
            results.figures.append(Figure(f"start-up, {name}", median(seconds), COMMANDS.get(name), " s"))
    workplace.save(results)
    return 0


def in_turns(workplace: Workplace, scripts: dict[str, str]) -> dict[str, list[float]]:
    """Wall seconds of every run of each script, after one that warms it up."""
    seconds: dict[str, list[float]] = {name: [] for name in scripts}
    for turn in range(1 + workplace.runs * TIMES_AS_MANY_RUNS):
        for name, script in scripts.items():
            used = workplace.run(f"exec {script}").wall_seconds
            if turn:
                seconds[name].append(used)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
