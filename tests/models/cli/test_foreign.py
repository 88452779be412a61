"""What models and their libraries print while a command runs them, and what they would end."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import casmodels.quantising.stored
from casmodels.cli.program import run
from casmodels.library import Store
from tests.models.loaders.test_onnx import linear
from tests.models.reading.conftest import saved, store, tmp_path  # noqa: F401 fixtures

COMMANDS = [("casmodels.bench.run", ("bench", "--calls", "1")), ("casmodels.quantising.stored", ("quantize",))]


@pytest.fixture(params=COMMANDS, ids=["bench", "quantize"])
def command(
    request: pytest.FixtureRequest,
    store: Store,  # noqa: F811
    saved: Callable[..., str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], None]], int]:
    """Runs the command on a model that does something of its own while it is loaded."""
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    monkeypatch.setenv("CASMODELS_CONFIG", str(store.directory.parent / "config.toml"))
    saved({"model.onnx": linear().SerializeToString()})
    module, arguments = request.param
    load_model = casmodels.quantising.stored.load_model

    def one(act: Callable[[], None]) -> int:
        def acting(*arguments: Any, **options: Any) -> Any:
            act()
            return load_model(*arguments, **options)

        monkeypatch.setattr(f"{module}.load_model", acting)
        return run(["--json", *arguments, "mine"])

    return one


def test_what_is_printed_goes_to_stderr(
    command: Callable[[Callable[[], None]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        sys.stdout.write("from Python\n")
        os.write(1, b"from elsewhere\n")
        if os.name == "posix":
            ctypes.CDLL(None).puts(b"from C")

    assert command(act) == 0
    said = capfd.readouterr()
    assert isinstance(json.loads(said.out), dict)
    for words in ("from Python\n", "from elsewhere\n", "from C\n"):
        assert os.name != "posix" or words in said.err


def test_a_model_does_not_end_the_program(
    command: Callable[[Callable[[], None]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(lambda: sys.exit(3)) == 2
    said = capfd.readouterr()
    assert json.loads(said.out)["error"]["kind"] == "not-loadable"
    assert said.err.splitlines()[-1] == (
        "error: mine cannot be run: its code, or its library's, ends the program (SystemExit: 3); "
        "see what it printed before"
    )


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed: str) -> None:
    script = (
        "import os\nfrom casmodels.cli.process import _prepare_streams\n"
        "from casmodels.cli.foreign import foreign_code\n"
        "_prepare_streams()\nwith foreign_code('mine'): print('foreign')\nprint('own', flush=True)\nos._exit(7)"
    )
    line = f'exec {sys.executable} -c "{script}" {closed}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False, text=True)
    assert done.returncode == 7
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "own\n")
    assert done.stderr == ("" if "2>&-" in closed else "foreign\n")
