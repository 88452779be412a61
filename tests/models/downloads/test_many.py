from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from casmodels.downloads import Download, Location, list_partials
from casmodels.errors import (
    InterruptedPullError,
    MissingUpstreamError,
    WrongBytesError,
)
from casstore.errors import InvalidInputError
from tests.hub import FakeHub, Fault
from tests.models.downloads.wanting import DATA, Make, Pauses, many, want


def test_all_are_fetched_and_failures_are_told_apart(hub: FakeHub, make: Make) -> None:
    downloads = many(hub, 20)
    del hub.files["/7"]
    hub.fault("/8", Fault(flip=0))
    outcomes = {}
    for outcome in make(workers=3).fetch_all(downloads):
        outcomes[outcome.download.name] = outcome
        if outcome.downloaded is not None:
            outcome.downloaded.discard()
    assert len(outcomes) == 20
    assert isinstance(outcomes["7"].error, MissingUpstreamError)
    assert isinstance(outcomes["8"].error, WrongBytesError)
    assert sum(outcome.downloaded is not None for outcome in outcomes.values()) == 18


def test_connections_are_kept_for_the_next_file(hub: FakeHub, make: Make) -> None:
    with FakeHub("localhost") as cdn:
        downloads = many(hub, 10)
        for number in range(10):
            cdn.files[f"/{number}"] = hub.files[f"/{number}"]
            hub.fault(f"/{number}", Fault(redirect=f"{cdn.url}/{number}"))
        for outcome in make(workers=2).fetch_all(downloads):
            assert outcome.downloaded is not None
            outcome.downloaded.discard()
        assert len(hub.seen) == len(cdn.seen) == 10
        assert hub.connections <= 2
        assert cdn.connections <= 2


def test_it_does_not_run_ahead_of_the_caller(hub: FakeHub, make: Make) -> None:
    outcomes = make(workers=2).fetch_all(many(hub, 20))
    next(outcomes)
    time.sleep(0.2)
    assert len(hub.seen) <= 4
    assert len(list(outcomes)) == 19


def test_the_initializer_runs_in_each_worker(hub: FakeHub, make: Make) -> None:
    threads = []
    list(make(workers=3, initializer=lambda: threads.append(threading.current_thread())).fetch_all(many(hub, 9)))
    assert len(set(threads)) == 3
    assert threading.current_thread() not in threads


def test_a_fault_in_a_worker_reaches_the_caller(hub: FakeHub, make: Make) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(make(initializer=fail).fetch_all(many(hub, 3)))


def test_cancel_wakes_a_stalled_stream_and_keeps_what_came(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    hub.fault("/model.bin", Fault(stall=(1_000_000, 60)))
    came = threading.Event()
    total = [0]

    def progress(_: Download, change: int) -> None:
        total[0] += change
        if total[0] >= 1_000_000:
            came.set()

    downloader = make(stall_seconds=60, progress=progress)
    timer = threading.Thread(target=lambda: (came.wait(10), downloader.cancel()))
    timer.start()
    began = time.monotonic()
    (outcome,) = downloader.fetch_all([want(hub)])
    timer.join()
    assert isinstance(outcome.error, InterruptedPullError)
    assert time.monotonic() - began < 5
    assert (tmp_path / "partials/key.part").read_bytes() == DATA[:1_000_000]


@pytest.mark.parametrize("earlier_bytes", [0, 500_000])
def test_cancel_with_discard_keeps_only_what_was_begun_before(
    hub: FakeHub, make: Make, tmp_path: Path, earlier_bytes: int
) -> None:
    part = tmp_path / "partials/key.part"
    if earlier_bytes:
        hub.fault("/model.bin", Fault(times=1, cut=earlier_bytes))
        hub.fault("/model.bin", Fault(times=1, status=403))
        (outcome,) = make().fetch_all([want(hub)])
        assert part.stat().st_size == earlier_bytes
    hub.fault("/model.bin", Fault(stall=(1_000_000, 60)))
    came = threading.Event()
    downloader = make(stall_seconds=60, progress=lambda *_: came.set())
    canceller = threading.Thread(target=lambda: (came.wait(10), downloader.cancel(discard=True)))
    canceller.start()
    (outcome,) = downloader.fetch_all([want(hub)])
    canceller.join()
    assert isinstance(outcome.error, InterruptedPullError)
    assert [path.name for path in (tmp_path / "partials").glob("*.part")] == (["key.part"] if earlier_bytes else [])
    if earlier_bytes:
        assert part.read_bytes() == DATA[: part.stat().st_size]
        assert part.stat().st_size >= earlier_bytes


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_whole_file_that_is_withdrawn_goes(hub: FakeHub, make: Make, tmp_path: Path, is_cancelled: bool) -> None:
    downloader = make()
    (outcome,) = downloader.fetch_all([want(hub)])
    assert outcome.downloaded is not None
    if is_cancelled:
        downloader.cancel(discard=True)
    outcome.downloaded.withdraw()
    assert list((tmp_path / "partials").iterdir()) == []


def test_leaving_the_loop_stops_the_rest(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    downloads = many(hub, 10)
    for number in range(1, 10):
        hub.fault(f"/{number}", Fault(stall=(10, 60)))
    began = time.monotonic()
    for outcome in make(workers=4, stall_seconds=60).fetch_all(downloads):
        assert outcome.downloaded is not None
        outcome.downloaded.discard()
        break
    assert time.monotonic() - began < 5


def test_what_the_caller_never_came_to_see_is_let_go(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    for outcome in make(workers=4).fetch_all(many(hub, 4)):
        assert outcome.downloaded is not None
        outcome.downloaded.discard()
        deadline = time.monotonic() + 5
        while len(hub.seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        break
    assert len(list_partials(tmp_path / "partials")) == 3


def test_a_file_that_another_holds_is_waited_for(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    asked = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) == 2:
            held.discard()
        return False

    second = make(wait=wait).fetch(want(hub))
    assert second is not None
    assert second.path.read_bytes() == DATA
    assert len(asked) == 2


@pytest.mark.parametrize("remove", [True, False])
def test_a_whole_file_that_is_not_let_go_is_copied(
    hub: FakeHub, make: Make, tmp_path: Path, pauses: Pauses, remove: bool
) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    hub.forget()
    second = make().fetch(want(hub))
    assert second is not None
    assert 2 <= sum(pauses.seconds) < 3, "whoever has it gets some time to let it go"
    assert second.path != held.path
    assert second.path.read_bytes() == held.path.read_bytes() == DATA
    assert (second.downloaded_bytes, hub.seen) == (0, [])
    second.discard() if remove else second.release()
    assert sorted(path.name for path in (tmp_path / "partials").iterdir()) == ["key.part", "key.part.json"]
    held.discard()


def test_a_whole_file_of_another_is_verified(hub: FakeHub, make: Make) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    held.path.write_bytes(DATA[::-1])
    second = make().fetch(want(hub))
    assert second is not None
    assert second.path.read_bytes() == DATA
    assert second.downloaded_bytes == len(DATA)
    second.discard()
    held.discard()


def test_two_that_each_hold_what_the_other_wants_both_end(hub: FakeHub, make: Make) -> None:
    one, other = many(hub, 2)
    ended: list[object] = []

    def pull(downloads: list[Download]) -> None:
        downloader = make(workers=1, wait=lambda seconds: bool(time.sleep(seconds / 20)))
        first = downloader.fetch(downloads[0])
        both.wait()
        second = downloader.fetch(downloads[1])
        assert first is not None
        assert second is not None
        ended.append(second.path.read_bytes())
        both.wait()
        first.discard()
        second.discard()

    both = threading.Barrier(2, timeout=20)
    threads = [threading.Thread(target=pull, args=(order,)) for order in ([one, other], [other, one])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == sorted([b"0" * 1000, b"1" * 1000])  # type: ignore[type-var]


@pytest.mark.parametrize("still_there", [True, False])
def test_what_another_finished_in_the_meantime_is_not_fetched(
    hub: FakeHub, make: Make, tmp_path: Path, still_there: bool
) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    if not still_there:
        held.discard()
    hub.forget()

    def wait(seconds: float) -> bool:
        held.discard()
        return False

    assert make(wait=wait).fetch(want(hub, still_needed=lambda: False)) is None
    assert hub.seen == []
    assert list((tmp_path / "partials").iterdir()) == []


def test_what_is_still_needed_is_fetched(hub: FakeHub, make: Make) -> None:
    assert make().fetch(want(hub, still_needed=lambda: True)) is not None


def test_waiting_for_another_can_be_cancelled(hub: FakeHub, make: Make) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    with pytest.raises(InterruptedPullError):
        make(wait=lambda _: True).fetch(want(hub))
    held.discard()


def test_partials_are_listed_when_nobody_holds_them(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    held = make().fetch(want(hub))
    assert held is not None
    assert list_partials(tmp_path / "partials") == []
    held.release()
    (partial,) = list_partials(tmp_path / "partials")
    assert partial.size_bytes == len(DATA)


@pytest.mark.parametrize("key", ["", ".", "../x", "a/b", "a\nb", ".hidden", "x" * 300])
def test_a_key_that_is_no_plain_file_name_is_refused(make: Make, key: str) -> None:
    with pytest.raises(InvalidInputError):
        make().fetch(Download("m", key, (Location("http://127.0.0.1/m"),)))
