"""Log files: whole lines whoever writes, bounded, and never in the way of what they tell of."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from casmodels.log_files import LogFiles, LogName, rotating
from casmodels.log_files.rotating import log_file

WRITER = """
import sys
from pathlib import Path
from casmodels.log_files import LogFiles, LogName, rotating
rotating.FILE_BYTES = int(sys.argv[3])
rotating.KEPT_FILES = 100
logs = LogFiles(Path(sys.argv[1]))
for number in range(300):
    logs.write(LogName.INFERENCE, {"text": "x" * (number % 97), "writer": sys.argv[2], "number": number})
"""


@pytest.fixture
def logs(tmp_path: Path) -> LogFiles:
    return LogFiles(tmp_path / "logs")


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_is_json_at_the_path_that_it_always_had(tmp_path: Path, logs: LogFiles) -> None:
    logs.write(LogName.DOWNLOAD, {"logger": "casmodels.pull", "level": "error", "model": "é", "status": "failed"})
    (line,) = lines_of(tmp_path / "logs" / "models" / "download.log")
    assert line.pop("time")
    assert line == {
        "logger": "casmodels.pull",
        "level": "error",
        "text": "é failed",
        "model": "é",
        "status": "failed",
    }
    assert {logs.path(name).name for name in LogName} == {"download.log", "inference.log", "performance.log"}


def test_they_rotate_and_stay_bounded(logs: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotating, "FILE_BYTES", 1000)
    for number in range(100):
        logs.write(LogName.PERFORMANCE, {"text": f"line {number}"})
    folder = logs.path(LogName.PERFORMANCE).parent
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == ["performance.log", *(f"performance.log.{place}" for place in (1, 2, 3))]
    assert all(path.stat().st_size < 1200 for path in folder.iterdir())
    assert lines_of(folder / "performance.log")[-1]["text"] == "line 99"


def test_several_processes_lose_and_mix_nothing(tmp_path: Path, logs: LogFiles) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "logs"), str(number), "5000"])
        for number in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    files = [path for path in logs.path(LogName.INFERENCE).parent.iterdir() if not path.name.startswith(".")]
    assert len(files) > 5, "it did not rotate while they wrote"
    found = Counter((line["writer"], line["number"]) for path in files for line in lines_of(path))
    assert found == Counter((str(writer), number) for writer in range(3) for number in range(300))


def test_a_forked_child_writes_its_own_lines(logs: LogFiles) -> None:
    logs.write(LogName.INFERENCE, {"text": "parent"})
    child = os.fork()
    if not child:
        logs.write(LogName.INFERENCE, {"text": "child"})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    logs.write(LogName.INFERENCE, {"text": "parent again"})
    assert [line["text"] for line in lines_of(logs.path(LogName.INFERENCE))] == ["parent", "child", "parent again"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_one_warning(logs: LogFiles, caplog: pytest.LogCaptureFixture) -> None:
    path = logs.path(LogName.INFERENCE)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    for _ in range(3):
        logs.write(LogName.INFERENCE, {"text": "lost"})
    (said,) = caplog.records
    assert said.getMessage() == f"{path} cannot be written: No space left on device; what belongs there is lost"
    assert said.levelno == logging.WARNING
    path.unlink()
    logs.write(LogName.INFERENCE, {"text": "kept"})
    assert [line["text"] for line in lines_of(path)] == ["kept"]


def test_what_a_full_disk_cuts_off_is_taken_back(logs: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.write(LogName.INFERENCE, {"text": "first"})
    limit = logs.path(LogName.INFERENCE).stat().st_size + 20
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom casmodels.log_files import LogFiles, LogName\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "LogFiles(Path(sys.argv[1])).write(LogName.INFERENCE, {'text': 'cut off'})\n"
    )
    command = [sys.executable, "-c", program, str(logs.path(LogName.INFERENCE).parent.parent), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("File too large; what belongs there is lost\n")
    logs.write(LogName.INFERENCE, {"text": "second"})
    assert [line["text"] for line in lines_of(logs.path(LogName.INFERENCE))] == ["first", "second"]


def test_a_directory_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file")
    logs = LogFiles(tmp_path / "logs")
    for _ in range(2):
        logs.write(LogName.DOWNLOAD, {"text": "lost"})
    (said,) = caplog.records
    assert "models/download.log cannot be written: " in said.getMessage()
    assert (tmp_path / "logs").read_text() == "a file"


def test_all_who_write_there_share_a_handler(logs: LogFiles) -> None:
    assert log_file(logs.path(LogName.DOWNLOAD)) is log_file(logs.path(LogName.DOWNLOAD))
