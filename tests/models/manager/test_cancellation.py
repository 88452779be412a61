"""A download that is cancelled ends within seconds, whatever it is at, and leaves nothing unfinished."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casmodels import ModelDownloader, PullOptions, Store
from casstore.refs import RefKind
from casstore.store import Store as Engine
from tests.hub import FakeHub, Fault
from tests.models.manager.leftovers import left_behind

ROOT = Path(__file__).parents[3]
REPO = "org/name"
WEIGHTS = os.urandom(6_000_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
SOON_SECONDS = 4.0
"""Two, and as many again for a machine that does other things besides."""


def cancel_when(downloader: ModelDownloader, is_time: Callable[[], bool], model: str = REPO) -> float:
    """Cancel a download as soon as something holds; gives the seconds that its end then took."""

    async def main() -> float:
        task = asyncio.create_task(downloader.download_model(model))
        while not is_time():
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    return asyncio.run(main())


def check_nothing_is_left(downloader: ModelDownloader, cache: Path, before: set[threading.Thread]) -> None:
    assert left_behind(cache, before) == []
    assert not downloader.is_model_downloaded(REPO)
    if (cache / "store").exists():
        with Store(cache / "store") as store:
            assert store.versions() == []
            assert store.verify(data=True).ok


def check_it_can_be_had_again(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.heal()
    result = asyncio.run(downloader.download_model(REPO))
    assert (result.status, result.error) == ("completed", None)
    assert result.path is not None
    assert Path(result.path, "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "fault",
    [
        Fault(stall=(3_000_000, 60)),
        Fault(trickle=(10_000, 0.1)),
        Fault(stall=(0, 60)),
        Fault(status=503, retry_after="60"),
    ],
    ids=["in the middle of a stalled file", "of one that trickles", "before its first byte", "between two tries"],
)
def test_while_a_file_comes(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", fault)

    def is_under_way() -> bool:
        return bool(hub.downloads("model.safetensors"))

    with caplog.at_level("INFO", "casmodels"):
        assert cancel_when(downloader, is_under_way) < SOON_SECONDS
    # Whoever cancels needs no alarm.
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert "the download was cancelled" in caplog.text
    check_nothing_is_left(downloader, cache, before)
    check_it_can_be_had_again(downloader, hub)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("name", ["org/name", "http://127.0.0.1:{port}/model.safetensors", "a link to a silent host"])
def test_while_a_server_says_nothing(
    silent: socket.socket,
    environment: dict[str, str],
    hub: FakeHub,
    cache: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(threading.enumerate())
    port = silent.getsockname()[1]
    if name.startswith("a link"):
        name = REPO
        hub.add(REPO, FILES)
        hub.fault(f"{REPO}/model.safetensors", Fault(redirect=f"http://127.0.0.1:{port}/x"))
    else:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    connected = threading.Event()

    def accept() -> None:
        with contextlib.suppress(OSError):
            connection, _ = silent.accept()
            connected.set()
            kept.append(connection)

    kept: list[socket.socket] = []
    accepting = threading.Thread(target=accept)
    accepting.start()
    with ModelDownloader(cache_dir=cache) as downloader:
        assert cancel_when(downloader, connected.is_set, name.format(port=port)) < SOON_SECONDS
        accepting.join()
        check_nothing_is_left(downloader, cache, before)
    for connection in kept:
        connection.close()


def test_while_a_host_cannot_be_looked_up(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing wakes a thread that waits for the resolver; it must hold nothing, and nobody must wait for it."""
    before = set(threading.enumerate())
    hub.add(REPO, {"model.safetensors": WEIGHTS})  # nothing else to be done meanwhile
    hub.fault(f"{REPO}/model.safetensors", Fault(redirect="http://slow.invalid/x"))
    asked, answer = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slowly(host: str, *rest: object, **more: object) -> object:
        if host == "slow.invalid":
            asked.set()
            answer.wait(60)
        return look_up(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    assert cancel_when(downloader, asked.is_set) < SOON_SECONDS
    left = [one for one in left_behind(cache, before) if one != "thread download-0"]
    assert left == []
    answer.set()
    deadline = time.monotonic() + 5
    while left_behind(cache, before) and time.monotonic() < deadline:
        time.sleep(0.05)
    check_nothing_is_left(downloader, cache, before)


@pytest.mark.parametrize("name", [REPO, "{url}/model.safetensors", "{url}/model.bin.gz"])
def test_while_a_large_file_is_stored(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from casstore import pipeline

    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    hub.files |= {"/model.safetensors": WEIGHTS, "/model.bin.gz": gzip.compress(WEIGHTS, 1)}
    coded = []
    code = pipeline._code_piece

    def slowly(*given: object) -> object:
        coded.append(given)
        time.sleep(0.3)
        return code(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "_code_piece", slowly)
    # config.json is one piece: the weights are what is stored when more have been coded.
    assert cancel_when(downloader, lambda: len(coded) > 2, name.format(url=hub.url)) < SOON_SECONDS
    check_nothing_is_left(downloader, cache, before)


def test_while_the_view_is_written(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is in the store by then and stays; of the view there is no unfinished file."""
    from casstore import files

    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    writing = threading.Event()
    write_all = files.write_all

    def slowly(descriptor: int, data: bytes, path: Path, **more: Path | None) -> None:
        if "store-view" in str(path):
            writing.set()
            time.sleep(0.3)
        write_all(descriptor, data, path, **more)

    monkeypatch.setattr(files, "write_all", slowly)
    assert cancel_when(downloader, writing.is_set) < SOON_SECONDS
    assert left_behind(cache, before) == []
    assert not any(path.stat().st_size == len(WEIGHTS) for path in (cache / "store-view").rglob("*"))
    monkeypatch.setattr(files, "write_all", write_all)
    assert downloader.is_model_downloaded(REPO)
    assert asyncio.run(downloader.download_model(REPO)).status == "cached"


def test_what_was_committed_on_the_way_is_protected_no_more(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casmodels.library.pulling_hub._COMMIT_BYTES", 1)
    hub.add(REPO, FILES | {"z.safetensors": os.urandom(100_000)})
    hub.fault(f"{REPO}/z.safetensors", Fault(stall=(1000, 60)))
    before = set(threading.enumerate())
    protected: list[int] = []

    def is_time() -> bool:
        if hub.downloads("z.safetensors"):
            with Engine.open(cache / "store") as store:
                protected.append(len(store.engine.ledger.refs.all(RefKind.PARTIAL)))
        return bool(protected and protected[-1])

    assert cancel_when(downloader, is_time) < SOON_SECONDS
    check_nothing_is_left(downloader, cache, before)
    with Store(cache / "store") as store:
        store.gc()
        assert store.stats().chunks == 0


def test_what_others_left_unfinished_stays(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    """An earlier run, stopped by Ctrl-C, said that the next one resumes."""
    hub.add(REPO, FILES)
    downloads = cache / "store/downloads"
    hub.fault(f"{REPO}/model.safetensors", Fault(times=1, cut=2_000_000))
    hub.fault(f"{REPO}/model.safetensors", Fault(status=403))
    with Store(cache / "store") as store:
        store.pull([REPO], PullOptions(low_priority=False))
    (kept,) = downloads.glob("*.part")
    assert kept.stat().st_size == 2_000_000
    (downloads / "sha256-0.part").write_bytes(b"another's")
    hub.heal()
    hub.forget()
    hub.fault(f"{REPO}/model.safetensors", Fault(stall=(1_000_000, 60)))
    cancel_when(downloader, lambda: bool(hub.downloads("model.safetensors")))
    assert (downloads / "sha256-0.part").exists()
    assert kept.read_bytes() == WEIGHTS[: kept.stat().st_size]
    assert kept.stat().st_size >= 2_000_000
    hub.forget()
    check_it_can_be_had_again(downloader, hub)
    assert hub.downloads("model.safetensors")[0].range is not None


def test_one_that_waits_for_its_turn_goes_at_once_and_disturbs_nobody(
    downloader: ModelDownloader, hub: FakeHub, cache: Path
) -> None:
    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    hub.add("org/other", FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(times=1, stall=(1_000_000, 1.0)))

    async def main() -> str:
        first = asyncio.create_task(downloader.download_model(REPO))
        second = asyncio.create_task(downloader.download_model("org/other"))
        while not hub.downloads("model.safetensors"):
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        second.cancel()
        await asyncio.wait([second])
        assert time.monotonic() - begun < 0.5
        assert not first.done()
        return (await first).status

    assert asyncio.run(main()) == "completed"
    assert not any("org/other" in seen.path for seen in hub.seen)
    assert left_behind(cache, before) == []


def test_a_timeout_is_a_cancellation(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(stall=(1_000_000, 60)))

    async def main() -> None:
        async with asyncio.timeout(1.0):
            await downloader.download_model(REPO)

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert time.monotonic() - begun < 1.0 + SOON_SECONDS
    check_nothing_is_left(downloader, cache, before)


def test_a_loop_that_is_left_for_good_is_a_cancellation(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    before = set(threading.enumerate())
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(stall=(1_000_000, 60)))
    loop = asyncio.new_event_loop()

    async def until_it_comes() -> None:
        while not hub.downloads("model.safetensors"):
            await asyncio.sleep(0.01)

    download = downloader.download_model(REPO)
    task = loop.create_task(download)
    loop.run_until_complete(until_it_comes())
    task._log_destroy_pending = False  # type: ignore[attr-defined] # that it is, is the test
    loop.close()
    download.close()
    del task
    gc.collect()
    deadline = time.monotonic() + SOON_SECONDS
    while left_behind(cache, before) and time.monotonic() < deadline:
        time.sleep(0.05)
    check_nothing_is_left(downloader, cache, before)


SCRIPT = """
import asyncio, sys
from casmodels import ModelDownloader

async def main():
    with ModelDownloader(cache_dir=sys.argv[1]) as downloader:
        result = await downloader.download_model("org/name")
        print(result.status, result.error, result.path)

{run}
"""
RUN = "asyncio.run(main())"
BARE_LOOP = "loop = asyncio.new_event_loop(); loop.run_until_complete(main())"


def _launch(cache: Path, environment: dict[str, str], run: str = RUN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(run=run), str(cache)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _stop(process: subprocess.Popen[str], hub: FakeHub, cache: Path, how: signal.Signals) -> float:
    """Send a signal when half of the file is there; gives the seconds until the process has ended."""
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size >= 1_000_000 for part in (cache / "store/downloads").glob("*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    begun = time.monotonic()
    process.communicate(timeout=60)
    return time.monotonic() - begun


@pytest.mark.parametrize("run", [RUN, BARE_LOOP])
def test_ctrl_c_ends_the_program_and_leaves_nothing(
    environment: dict[str, str], hub: FakeHub, cache: Path, run: str
) -> None:
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(stall=(3_000_000, 60)))
    with _launch(cache, environment, run) as process:
        assert _stop(process, hub, cache, signal.SIGINT) < SOON_SECONDS + 2
    assert process.returncode != 0
    assert left_behind(cache, set(threading.enumerate())) == []


def test_after_a_kill_the_next_one_resumes(environment: dict[str, str], hub: FakeHub, cache: Path) -> None:
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(stall=(3_000_000, 60)))
    with _launch(cache, environment) as process:
        _stop(process, hub, cache, signal.SIGKILL)
    hub.heal()
    hub.forget()
    with _launch(cache, environment) as process:
        out, err = process.communicate(timeout=120)
    assert out.startswith("completed None"), err
    (weights,) = hub.downloads("model.safetensors")
    assert weights.range is not None
    assert int(weights.range.removeprefix("bytes=").removesuffix("-")) >= 1_000_000
    assert list((cache / "store/downloads").iterdir()) == []
    with Store(cache / "store") as store:
        store.gc()  # takes what only a kill leaves: a lease's file and a pack that was not finished
        assert left_behind(cache, set(threading.enumerate())) == []
        assert b"".join(store.cat(REPO, "model.safetensors")) == WEIGHTS
