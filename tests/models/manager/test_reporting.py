from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading

import pytest

from casmodels import DownloadResult, ModelDownloader
from casmodels.manager.reporting import ProgressCallback
from tests.hub import FakeHub, Fault

REPO = "org/name"
FILES = {"config.json": b"{}", "model.safetensors": os.urandom(4_000_000)}
SIZE = sum(map(len, FILES.values()))
Told = list[tuple[str, int, int | None]]


@pytest.fixture
def told() -> Told:
    return []


def download(downloader: ModelDownloader, progress: ProgressCallback, model: str = REPO) -> DownloadResult:
    return asyncio.run(downloader.download_model(model, progress=progress))


def test_bytes_are_told_in_the_loops_own_thread_up_to_the_last(
    downloader: ModelDownloader, hub: FakeHub, told: Told
) -> None:
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(trickle=(1_000_000, 0.1)))
    threads = set()

    def progress(model: str, done_bytes: int, total_bytes: int | None) -> None:
        threads.add(threading.current_thread())
        told.append((model, done_bytes, total_bytes))

    assert download(downloader, progress).status == "completed"
    assert threads == {threading.current_thread()}
    assert told[-1] == (REPO, SIZE, SIZE)
    done = [one[1] for one in told]
    assert len(done) >= 3
    assert done == sorted(done)
    assert {one[2] for one in told} == {SIZE}
    told.clear()
    assert download(downloader, progress).status == "cached"
    assert told == []


def test_a_wrong_file_takes_its_bytes_back(downloader: ModelDownloader, hub: FakeHub, told: Told) -> None:
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(flip=10))
    assert download(downloader, lambda *one: told.append(one)).status == "failed"
    assert told[-1] == (REPO, 2, SIZE)


def test_nobody_knows_how_large_a_url_is_before_it_comes(downloader: ModelDownloader, hub: FakeHub, told: Told) -> None:
    hub.files["/model.bin"] = os.urandom(100_000)
    hub.fault("/model.bin", Fault(no_length=True))
    url = f"{hub.url}/model.bin"
    assert download(downloader, lambda *one: told.append(one), url).status == "completed"
    assert told[-1] == (url, 100_000, None)


def test_a_callback_that_raises_is_told_once_and_the_download_goes_on(
    downloader: ModelDownloader, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(REPO, FILES)
    hub.fault(f"{REPO}/model.safetensors", Fault(trickle=(1_000_000, 0.1)))
    calls = []

    def progress(*given: object) -> None:
        calls.append(given)
        raise ZeroDivisionError("in the callback")

    with caplog.at_level(logging.ERROR):
        assert download(downloader, progress).status == "completed"
    assert len(calls) == 1
    (record,) = [record for record in caplog.records if record.name == "asyncio"]
    assert "the progress callback raised while org/name was downloaded" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def asynchronous(model: str, done_bytes: int, total_bytes: int | None) -> None:
    """What would never be awaited."""


@pytest.mark.parametrize("wrong", [7, "show", asynchronous])
def test_what_cannot_be_called_as_progress_is_refused(downloader: ModelDownloader, hub: FakeHub, wrong: object) -> None:
    with pytest.raises(TypeError, match="progress is a plain function"):
        download(downloader, wrong)  # type: ignore[arg-type]
    assert hub.seen == []


def test_a_callback_sees_the_context_of_who_asked(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(REPO, FILES)
    request = contextvars.ContextVar("request", default="")
    seen = set()

    async def main() -> None:
        request.set("mine")
        await downloader.download_model(REPO, progress=lambda *_: seen.add(request.get()))

    asyncio.run(main())
    assert seen == {"mine"}
