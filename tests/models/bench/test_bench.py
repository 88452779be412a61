"""`casmodels bench`: a model of the store is loaded, run and measured, and what makes no sense is one sentence."""

from __future__ import annotations

import errno
import io
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import casmodels.bench.run
from casmodels.cli.output import ClosedOutputError
from casmodels.cli.program import run
from casmodels.errors import MissingExtraError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.testing.faults import Failing, hooked
from tests.models.cli.conftest import Ran, Runner
from tests.models.loaders.test_gguf import gguf_file
from tests.models.loaders.test_isolation import workers
from tests.models.loaders.test_onnx import linear
from tests.terminal import Terminal

Saver = Callable[..., str]
LONG = "n" * 260
QUICK = ("--calls", "3", "--batch-size", "1,4")


@pytest.fixture
def bench(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Callable[..., Ran]:
    """The command, on the test's store."""
    for variable in ("USE_GPU", "BATCH_SIZE", "CASMODELS_LOGS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    runner = Runner(capsysbinary)
    return lambda *arguments: runner("bench", *arguments)


@pytest.fixture
def tiny(saved: Saver) -> str:
    return saved({"model.onnx": linear().SerializeToString()})


def test_a_table_of_what_was_found(bench: Callable[..., Ran], tiny: str) -> None:
    ran = bench("mine", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    first, second, header, *rows = ran.out.splitlines()
    assert first == f"mine@{tiny[:12]} by onnx on cpu, run on: example"
    assert re.fullmatch(
        r"loaded in \d+\.\d\d s; memory: \d+\.\d MiB \(-?[\d.]+ \w+ since before it was loaded\)", second
    )
    assert header.split() == ["BATCH", "P50", "MS", "P95", "MS", "P99", "MS", "ITEMS/S"]
    assert [row.split()[0] for row in rows] == ["1", "4"]
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in row.split())


def test_the_document(bench: Callable[..., Ran], tiny: str) -> None:
    document = bench("mine", *QUICK, "--json").document
    assert (document["model"], document["loader"], document["device"]) == (f"mine@{tiny}", "onnx", "cpu")
    assert [each["batch_size"] for each in document["batches"]] == [1, 4]
    for each in document["batches"]:
        latency = each["latency"]
        assert (latency["calls"], latency["items"]) == (3, 3 * each["batch_size"])
        assert 0 < latency["p50_seconds"] <= latency["p95_seconds"] <= latency["p99_seconds"]
        assert each["items_per_second"] == pytest.approx(latency["items"] / latency["total_seconds"])
    assert document["process_bytes"] > 0
    assert document["worker_bytes"] is document["gpu"] is None


def test_a_process_of_its_own(bench: Callable[..., Ran], tiny: str) -> None:
    document = bench("mine", *QUICK, "--isolated", "--device", "cpu", "--loader", "onnx", "--json").document
    assert document["isolated"]
    assert document["worker_bytes"] > 1 << 20
    assert workers() == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", json.dumps([[0.5] * 64] * 3).encode()),
        ("named.json", json.dumps({"x": [[0.5] * 64] * 3}).encode()),
        ("rows.npy", None),
    ],
)
def test_data_of_the_users_own(
    bench: Callable[..., Ran],
    tiny: str,
    tmp_path: Path,
    name: str,
    content: bytes | None,
) -> None:
    (tmp_path / name).write_bytes(npy(np.ones((3, 64), "float32")) if content is None else content)
    ran = bench("mine", *QUICK, "--input", str(tmp_path / name), "--json")
    assert ran.code == 0
    assert ran.document["input"] == name


def npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


SCALAR = npy(np.float32(3))
WRONG = [
    ("nothing.txt", None, 3, "nothing.txt does not exist"),
    ("empty.txt", b"\n \n", 2, "is empty"),
    ("weights.bin", b"\xff\xfe\0\x01", 2, "is no text in UTF-8"),
    ("zeros.txt", b"a\0b", 2, "is no text in UTF-8"),
    ("broken.json", b'{"x": [1,', 2, "is no JSON"),
    ("number.json", b"3", 2, "holds no items"),
    ("uneven.json", b'{"x": [1], "y": [1, 2]}', 2, "holds no items"),
    ("scalar.npy", SCALAR, 2, "holds no items"),
    ("text.npy", b"no array", 2, "is no .npy file of numbers"),
    ("lines.txt", b"words where the model takes numbers", 2, "cannot be run on the data given"),
    ("names.json", b'{"other": [1]}', 2, "the model has no input 'other'"),
]


@pytest.mark.parametrize(("name", "content", "code", "said"), WRONG, ids=[row[0] for row in WRONG])
def test_files_that_will_not_do(
    bench: Callable[..., Ran],
    tiny: str,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    code: int,
    said: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = bench("mine", *QUICK, "--input", str(tmp_path / name))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_arrays_of_python_objects_are_not_unpickled(bench: Callable[..., Ran], tiny: str, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    ran = bench("mine", "--input", str(tmp_path / "objects.npy"))
    assert (ran.code, "is no .npy file of numbers" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--batch-size", "0"), 2, "0 is no size of a batch"),
        (("--batch-size", "8,-1"), 2, "-1 is no size of a batch"),
        (("--batch-size", "8,many"), 2, "'8,many' are no sizes of batches"),
        (("--batch-size", ""), 2, "'' are no sizes of batches"),
        (("--batch-size", "1000000"), 2, "a batch of 1000000 items is too large"),
        (("--calls", "0"), 2, "0 is no number of calls"),
        (("--device", "gpu"), 2, "there is no device 'gpu'"),
        (("--device", "cuda"), 2, "there is no device 'cuda' here"),
        (("--loader", "none"), 2, "there is no loader 'none'"),
        (("--path", "nowhere"), 3, "nothing at 'nowhere'"),
        (("--plot", "plot.jpeg"), 2, "plot.jpeg is no name for a plot; let it end in .svg or .png"),
        (("--plot", "nowhere/plot.svg"), 3, "there is no directory nowhere"),
        (("--plot", f"{LONG}.svg"), 2, f"error: {LONG}.svg: file name too long; choose a shorter name\n"),
        (("--input", LONG), 2, f"error: {LONG} cannot be read: file name too long; name a file that you may read\n"),
    ],
)
def test_options_that_make_no_sense(
    bench: Callable[..., Ran],
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    ran = bench("mine", *options)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_models_that_cannot_be_run(bench: Callable[..., Ran], tiny: str, saved: Saver) -> None:
    ran = bench("unknown")
    assert (ran.code, "no model is called 'unknown'" in ran.err) == (3, True)
    saved({"model.gguf": b"GGUF"})
    assert bench("mine").code == 2
    saved({"README.md": b"# no model"})
    ran = bench("mine")
    assert (ran.code, "no loader recognises mine@" in ran.err) == (2, True)


def test_what_cannot_be_called(bench: Callable[..., Ran], saved: Saver, tmp_path: Path) -> None:
    saved({"model.gguf": gguf_file(tmp_path / "written.gguf")})
    for options in ((), ("--input", str(tmp_path / "lines.txt"))):
        (tmp_path / "lines.txt").write_text("a line")
        ran = bench("mine", "--loader", "gguf", *options)
        assert (ran.code, ran.out) == (2, "")
        assert "what the loader 'gguf' loads cannot be called" in ran.err


def test_a_directory_that_may_not_be_written_to(
    bench: Callable[..., Ran], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casmodels.bench.plot.os.access", lambda *_: False)
    ran = bench("mine", "--plot", str(tmp_path / "plot.svg"))
    assert (ran.code, ran.err) == (5, f"error: {tmp_path}: permission denied\n")


def test_what_a_loader_cannot_make_up_is_to_be_given(bench: Callable[..., Ran], saved: Saver) -> None:
    saved({"m.act": b""})
    ran = bench("mine", *QUICK)
    assert ran.code == 2
    assert "what the loader 'acting' loads does not say which data it takes; give data of your own" in ran.err


def fixed(shape: list[Any], kind: int = TensorProto.FLOAT) -> bytes:
    inputs, outputs = ([helper.make_tensor_value_info(name, kind, shape)] for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    data: bytes = model.SerializeToString()
    return data


def test_zeros_of_the_shape_that_is_declared(store: Store, saved: Saver) -> None:
    saved({"model.onnx": fixed(["n", 3, "width"], TensorProto.INT64)})
    with load_model(store, "mine") as model:
        batch = model.example(5)
        assert (batch.shape, batch.dtype, batch.any()) == ((5, 3, 16), "int64", np.False_)
    saved({"model.onnx": fixed([2, 3])})
    with load_model(store, "mine") as model, pytest.raises(NotLoadableError, match="takes 2 items at a time, not 8"):
        model.example(8)
    saved({"model.onnx": fixed(["n"], TensorProto.STRING)})
    with (
        load_model(store, "mine") as model,
        pytest.raises(NotLoadableError, match="zeros cannot be made"),
    ):
        model.example(1)


def test_a_worker_that_dies_in_the_middle(
    bench: Callable[..., Ran],
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def kill() -> None:
        while not (found := workers()):
            time.sleep(0.01)
        time.sleep(1.0)
        found[0].send_signal(signal.SIGKILL)

    threading.Thread(target=kill).start()
    ran = bench("mine", "--calls", "1000000", "--isolated", "--plot", str(tmp_path / "plot.png"))
    assert (ran.code, ran.out) == (1, "")
    assert re.search("the worker of mine@.* ended .*: killed by SIGKILL", ran.err)
    assert workers() == []
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot(bench: Callable[..., Ran], tiny: str, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"plot.{ending}"
    ran = bench("mine", *QUICK, "--plot", str(path))
    assert (ran.code, ran.err) == (0, f"the plot is in {path}\n")
    if ending == "png":
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    else:
        assert b"</svg>" in path.read_bytes()


def test_the_plot_says_what_it_shows(tiny: str, store: Store) -> None:
    from casmodels.bench.plot import _figure

    found = casmodels.bench.run.bench(store, "mine", batch_sizes=(1, 4), calls=3)
    figure = _figure(found)
    throughput, latency = figure.axes
    assert (throughput.get_xlabel(), throughput.get_ylabel()) == ("items in a batch", "items per second")
    assert (latency.get_xlabel(), latency.get_ylabel()) == ("items in a batch", "milliseconds per call")
    assert [label.get_text() for label in latency.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in latency.get_legend().get_texts()] == ["p99", "p95", "p50"]
    heights = [bar.get_height() for bar in throughput.patches]
    assert heights == [each.items_per_second for each in found.batches]
    assert latency.lines[2].get_ydata()[1] == 1000 * found.batches[1].latency.p50_seconds


def test_without_matplotlib_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Ran], tiny: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("casmodels.bench.run.bench", None)
    ran = bench("mine", "--plot", "plot.svg")
    assert ran.err == f"error: {MissingExtraError('bench').message}; run `pip install 'casmodels[bench]'`\n"
    assert ran.code == 2


def test_with_a_broken_matplotlib_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Ran], tiny: str
) -> None:
    def broken(name: str) -> Any:
        raise ImportError("libfreetype.so is missing")

    monkeypatch.setattr("casmodels.extras.import_module", broken)
    monkeypatch.setattr("casmodels.bench.run.bench", None)
    ran = bench("mine", "--plot", "plot.svg")
    assert ran.err == (
        "error: matplotlib is installed but cannot be imported: libfreetype.so is missing; "
        "mend the installation: `pip install --upgrade 'casmodels[bench]'`\n"
    )
    assert ran.code == 1


def test_a_plot_whose_name_is_as_long_as_a_name_can_be(bench: Callable[..., Ran], tiny: str, tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 251}.svg"
    assert bench("mine", *QUICK, "--plot", str(path)).code == 0
    assert b"</svg>" in path.read_bytes()


def test_a_file_that_fails_while_it_is_read(bench: Callable[..., Ran], tiny: str) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no file here fails so")
    ran = bench("mine", "--input", "/proc/self/mem")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: /proc/self/mem cannot be read: input/output error; name a file that you may read\n"


def test_a_full_disk_takes_the_plot_and_not_the_figures(bench: Callable[..., Ran], tiny: str, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    for options in ((), ("--json",)):
        with hooked(Failing(errno.ENOSPC, "write", ".tmp")):
            ran = bench("mine", *QUICK, "--plot", str(plot), *options)
        assert ran.code == 5
        assert ran.err == (
            f"error: no space left while writing {plot}; free some space, then run the same command again\n"
        )
        assert "ITEMS/S" in ran.out or len(ran.document["batches"]) == 2
    assert not plot.exists()
    assert list(tmp_path.glob(".*.tmp")) == []


def test_what_matplotlib_raises_takes_the_plot_and_not_the_figures(
    bench: Callable[..., Ran], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casmodels.bench.plot._figure", None)
    ran = bench("mine", *QUICK, "--plot", str(tmp_path / "plot.svg"), "--json")
    assert (ran.code, ran.err.startswith("error: unexpected error: TypeError")) == (1, True)
    assert len(ran.document["batches"]) == 2


def test_ctrl_c_takes_the_plot_and_not_the_figures(
    bench: Callable[..., Ran], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("casmodels.bench.plot._figure", drawn)
    ran = bench("mine", *QUICK, "--plot", str(tmp_path / "plot.svg"), "--json")
    assert (ran.code, ran.err) == (130, "interrupted; the next run begins anew\n")
    assert len(ran.document["batches"]) == 2
    assert list(tmp_path.glob("*plot*")) == []


def test_a_plot_is_drawn_when_nobody_reads_the_figures(
    bench: Callable[..., Ran], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed() -> None:
        raise ClosedOutputError

    monkeypatch.setattr("casmodels.cli.benching.flush_out", closed)
    assert bench("mine", *QUICK, "--plot", str(tmp_path / "plot.svg")).code == 0
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")


def test_a_terminal_gets_bars(bench: Callable[..., Ran], tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", terminal)
    assert run(["bench", "mine", *QUICK]) == 0
    bars = [line for line in terminal.getvalue().splitlines() if "█" in line]
    assert len(bars) == 2
    assert [re.match(r" *batch (\d+) +█+.* [\d.,]+ items/s *\Z", line)[1] for line in bars] == ["1", "4"]  # type: ignore[index]


def test_a_bench_is_a_line_of_the_log_and_its_calls_are_none(
    bench: Callable[..., Ran],
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CASMODELS_LOGS", str(tmp_path / "logs"))
    document = bench("mine", *QUICK, "--json").document
    (path,) = (path for path in (tmp_path / "logs").rglob("*.log"))
    assert path == tmp_path / "logs" / "models" / "performance.log"
    (line,) = (json.loads(line) for line in path.read_text().splitlines())
    assert (line["logger"], line["model"]) == ("casmodels.bench", f"mine@{tiny}")
    assert line["batches"] == document["batches"]
