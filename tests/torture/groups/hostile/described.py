"""The server by its own description: schemathesis asks all of what the OpenAPI document says, and of what it does not.

Every answer must be one that the document has: its status, content type, headers and JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from casmodels.serve.app import DESCRIPTION
from casstore.store import Store
from casstore.testing.builders import noise
from tests.models.serve.shelf import NOON_NS, put
from tests.torture.groups.hostile.guests import Served, request, running
from tests.torture.groups.hostile.memory import peak_bytes_of
from tests.torture.groups.hostile.outside import SECRET
from tests.torture.groups.hostile.stores import open_store
from tests.torture.plan import Outcome, Plan

_TOKEN: Final = "a-token-that-nobody-knows"
_MODEL: Final = "gpt2"
_CARD: Final = b"---\nlicense: mit\npipeline_tag: fill-mask\ntags: [a, b]\nrating: 1.5\n---\n# m\n"
_FILES: Final = {
    "README.md": _CARD,
    "config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
    "model.safetensors": noise(7, 100_000),
    "onnx/model.onnx": b"graph",
    "\u00e9 %2e": b"strange",
}
_UPSTREAM: Final = "0123456789" * 4
_CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
_OUTSIDERS: Final = Path(__file__).with_name("outsiders.py")
_MOST_MEMORY_BYTES: Final = 400 << 20
_LONGEST_SECONDS: Final = 1500
_FAILED: Final = 1
_OURS: Final = {"secret", "store", "log", "casmodels.toml", "openapi.json", "report.json", ".hypothesis"}


def run(plan: Plan) -> Iterator[Outcome]:
    """One server with a token, as users start it."""
    root = plan.work / "described"
    root.mkdir()
    (root / "secret").write_bytes(SECRET)
    _fill(root / "store", f"file://{root}/models")
    seed = plan.random("described").randrange(1 << 32)
    command = [sys.executable, "-m", "casmodels", "--store", f"{root / 'store'}", "serve", "--metrics", "--port", "0"]
    settings = root / "casmodels.toml"
    settings.touch()
    with running([*command, "--token", _TOKEN], root / "log", CASMODELS_CONFIG=f"{settings}") as served:
        yield _asked(served, root, seed, *((["coverage"], 1) if plan.is_short else (["coverage", "fuzzing"], 400)))
        yield Outcome("the described server afterwards", 1, tuple(_aftermath(served, root)))
    with open_store(root) as store:
        sound = store.verify(data=True).ok
    yield Outcome("its store verified", 1, () if sound else ("the store is damaged",))


def _fill(path: Path, source: str) -> None:
    with Store.open(path, create=True) as store:
        put(store, _MODEL, {"config.json": b"{}"}, source=source, tag="v1/rc", message="first <b>\n\nmore")
        put(
            store,
            _MODEL,
            {"a": b"pulled"},
            created_ns=NOON_NS + 1,
            source=source,
            metadata={"requested_revision": "refs/pr/1", "revision": _UPSTREAM},
        )
        put(store, _MODEL, _FILES, created_ns=NOON_NS + 2, source=source, links={"link": "onnx"}, empty=("empty",))
        put(store, "org/m", {"README.md": b"x" * 100}, source=source)


def _asked(served: Served, root: Path, seed: int, phases: list[str], examples: int) -> Outcome:
    """Have schemathesis ask; what it finds against the document is told with the request that shows it."""
    report, description = root / "report.json", root / "openapi.json"
    # As it is of a server that was given a token: without the token nothing but the health is told.
    description.write_text(json.dumps(json.loads(DESCRIPTION.read_bytes()) | {"security": [{"token": []}]}))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", f"{_CONFIGURATION}", "run", f"{description}"]
    command += ["--url", f"http://127.0.0.1:{served.port}", "--header", f"Authorization: Bearer {_TOKEN}"]
    command += ["--phases", ",".join(phases), "--max-examples", f"{examples}", "--seed", f"{seed}"]
    command += ["--report", "json", "--report-json-path", f"{report}"]
    outside = {"SCHEMATHESIS_HOOKS": f"{_OUTSIDERS}", "NOT_TO_BE_SEEN": f"{root}\n{SECRET.decode()}\nroot:\nTraceback"}
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, **outside},
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if done.returncode not in (0, _FAILED) or not report.exists():
        return Outcome(
            "schemathesis",
            0,
            (f"schemathesis ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}",),
        )
    found: dict[str, Any] = json.loads(report.read_text())
    failures = [f"{one['title']}: {', '.join(one['operations'])}" for one in found["failures"]]
    failures += [f"schemathesis could not ask: {error}" for error in found["errors"]]
    if failures or done.returncode:
        failures.append(done.stdout[-6000:])
    what = f"requests that schemathesis made of the description ({' and '.join(phases)})"
    return Outcome(what, found["test_cases"]["generated"], (*failures, *served.complaints()))


def _aftermath(served: Served, root: Path) -> Iterator[str]:
    """Whether an ordinary guest is served as if nothing had been, in little memory, and nothing was made."""
    for path, content in _FILES.items():
        target = f"/{_MODEL}/resolve/main/".encode() + b"".join(b"%%%02x" % byte for byte in os.fsencode(path))
        answer = served.ask(request("GET", target, f"Authorization: Bearer {_TOKEN}".encode()))
        if not answer.endswith(b"\r\n\r\n" + content):
            yield f"{path!r} is not given any more"
    with contextlib.suppress(FileNotFoundError):
        peak = peak_bytes_of(served.process.pid)
        if peak > _MOST_MEMORY_BYTES:
            yield f"the server took {peak} bytes of memory"
    made = {entry.name for entry in root.iterdir()} - _OURS
    if made:
        yield f"{sorted(made)} was made"
