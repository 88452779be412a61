from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casmodels.downloads import Download, Location, RetryPolicy
from casmodels.errors import (
    AccessError,
    MissingUpstreamError,
    NetworkError,
    UpstreamError,
    WrongBytesError,
)
from casstore.digests import git_blob_digest, sha256_digest
from casstore.errors import StoreError
from tests.hub import FakeHub, Fault
from tests.models.downloads.wanting import DATA, SMALL, Make, Pauses, unchecked, want
from tests.torture.groups.hostile.answers import AnyServer, answer_of


def test_a_file_arrives_whole_and_is_gone_after_discard(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert downloaded.sha256 == sha256_digest(DATA)
    assert downloaded.downloaded_bytes == downloaded.size_bytes == len(DATA)
    downloaded.discard()
    assert list((tmp_path / "partials").iterdir()) == []


def test_the_git_blob_id_is_checked(hub: FakeHub, make: Make) -> None:
    downloaded = make().fetch(want(hub, "/small.json", SMALL, git_blob_digest(SMALL)))
    assert downloaded is not None
    assert downloaded.git == git_blob_digest(SMALL)
    downloaded.discard()
    with pytest.raises(WrongBytesError, match=r"small\.json came wrong from 127\.0\.0\.1.*git:"):
        make().fetch(want(hub, "/small.json", SMALL, git_blob_digest(b"x" * len(SMALL))))


@pytest.mark.parametrize(
    ("status", "headers"),
    [("200 OK", {"Content_Length": "9" * 5000}), ("206 Partial", {"Content_Range": f"bytes {'9' * 5000}-9/10"})],
)
def test_numbers_of_thousands_of_digits_are_overlooked(make: Make, status: str, headers: dict[str, str]) -> None:
    with AnyServer() as server:
        server.become(lambda _: answer_of(SMALL, status, **headers))
        with pytest.raises((NetworkError, WrongBytesError)):
            make().fetch(Download("file", "key", (Location(server.url),), 5, sha256_digest(DATA)))


def test_an_empty_file_needs_no_request(hub: FakeHub, make: Make) -> None:
    downloaded = make().fetch(want(hub, "/none", b""))
    assert downloaded is not None
    assert downloaded.size_bytes == 0
    assert downloaded.sha256 == sha256_digest(b"")
    assert hub.seen == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=1_000_000, times=1),
        Fault(stall=(1_000_000, 60), times=1),
        Fault(drop=True, times=2),
        Fault(status=503, times=2),
        Fault(status=429, times=2),
        Fault(status=408, times=2),
        Fault(no_length=True, cut=1_000_000, times=1),
        Fault(cut=100_000, times=20),
    ],
)
def test_what_passes_is_tried_again(hub: FakeHub, make: Make, fault: Fault) -> None:
    hub.fault("/model.bin", fault)
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert downloaded.downloaded_bytes == len(DATA), "what had come was fetched again"


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        (Fault(flip=5), WrongBytesError, r"model\.bin came wrong from 127\.0\.0\.1: it has digest sha256:"),
        (Fault(longer=b"x"), WrongBytesError, "has 3000001 bytes, expected 3000000"),
        (Fault(longer=b"x" * 100_000, no_length=True), WrongBytesError, "goes on after its 3000000 bytes"),
        (Fault(cut=0), NetworkError, r"model\.bin: .* \(tried 6 times\)"),
        (Fault(cut=100, ignore_range=True), NetworkError, r"model\.bin: .* \(tried 6 times\)"),
        (Fault(drop=True), NetworkError, "broke"),
        (Fault(status=503), NetworkError, "answered 503"),
        (Fault(stall=(0, 60)), NetworkError, "sent nothing"),
        (Fault(status=404, error_code="EntryNotFound"), MissingUpstreamError, r"model\.bin is not there"),
        (Fault(status=404), MissingUpstreamError, r"model\.bin is not there"),
        (Fault(status=403, error_code="GatedRepo"), AccessError, "gated"),
        (Fault(status=401, error_code="GatedRepo"), AccessError, "gated"),
        (Fault(status=403), AccessError, "refuses access"),
        (Fault(status=400), UpstreamError, "answered 400"),
        (Fault(html=True), UpstreamError, "web page"),
        (Fault(html=True, html_type="application/octet-stream"), UpstreamError, "web page"),
        (Fault(encoding="gzip", longer=b"x"), UpstreamError, "compressed"),
        (Fault(redirect="ftp://127.0.0.1/x"), UpstreamError, "unsafe"),
        (Fault(redirect="http://[::1/x"), UpstreamError, "unsafe"),
        (Fault(redirect="/model.bin"), UpstreamError, "circles"),
    ],
)
def test_what_stays_wrong_is_an_error_that_names_the_file(
    hub: FakeHub, make: Make, fault: Fault, error: type[StoreError], match: str
) -> None:
    hub.fault("/model.bin", fault)
    with pytest.raises(error, match=match) as caught:
        make().fetch(want(hub))
    assert type(caught.value) is error
    hub.heal()
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA, "an earlier failure poisoned the partial file"


def test_a_wrong_byte_leaves_nothing_to_resume_from(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    hub.fault("/model.bin", Fault(flip=5))
    with pytest.raises(WrongBytesError):
        make().fetch(want(hub))
    assert list((tmp_path / "partials").iterdir()) == []
    assert len(hub.seen) == 1, "the same wrong bytes were asked for again"


def test_bytes_left_by_an_earlier_run_get_the_blame_first(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    hub.fault("/model.bin", Fault(cut=2_000_000, flip=10, times=1))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(want(hub))
    assert (tmp_path / "partials/key.part").stat().st_size == 2_000_000
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert [seen.range for seen in hub.seen] == [None, "bytes=2000000-", None]


@pytest.mark.parametrize("kept", [1, 1_500_000, 3_000_000])
def test_an_earlier_run_is_continued(hub: FakeHub, make: Make, kept: int) -> None:
    if kept < len(DATA):
        hub.fault("/model.bin", Fault(cut=kept, times=1))
        with pytest.raises(NetworkError):
            make(retries=RetryPolicy(attempts=1)).fetch(want(hub))
    else:
        whole = make().fetch(want(hub))
        assert whole is not None
        whole.release()
    hub.forget()
    progress: list[int] = []
    downloaded = make(progress=lambda _, change: progress.append(change)).fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert downloaded.sha256 == sha256_digest(DATA)
    assert downloaded.downloaded_bytes == len(DATA) - kept
    assert progress[0] == kept
    assert sum(progress) == len(DATA)
    if kept < len(DATA):
        (seen,) = hub.seen
        assert seen.range == f"bytes={kept}-"
        assert seen.headers["if-range"].startswith('"')
    else:
        assert hub.seen == []


def test_a_server_that_ignores_ranges_is_read_from_the_start(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    hub.fault("/model.bin", Fault(ignore_range=True))
    changes: list[int] = []
    downloaded = make(progress=lambda _, change: changes.append(change)).fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert downloaded.downloaded_bytes == len(DATA) + 1_000_000
    assert -1_000_000 in changes
    assert sum(changes) == len(DATA)


def test_a_server_that_sends_another_range_is_read_from_the_start(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    hub.fault("/model.bin", Fault(wrong_range=True, times=1))
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA


def test_without_a_digest_a_changed_etag_starts_over(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(unchecked(hub))
    hub.files["/model.bin"] = DATA[::-1]
    hub.forget()
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA[::-1]
    assert downloaded.sha256 == sha256_digest(DATA[::-1])
    assert [(seen.range, seen.status) for seen in hub.seen] == [("bytes=1000000-", 200)]


def test_an_etag_that_changes_behind_if_range_starts_over(hub: FakeHub, make: Make) -> None:
    """A server that honours Range but not If-Range."""
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1, etag='"one"'))
    hub.fault("/model.bin", Fault(times=1, etag='"one"'))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(unchecked(hub))
    hub.heal()
    hub.files["/model.bin"] = DATA[::-1]
    hub.fault("/model.bin", Fault(ignore_condition=True, times=1))
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA[::-1]


def test_a_rest_without_an_etag_keeps_the_one_it_was_asked_for_with(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    hub.fault("/model.bin", Fault(cut=1_000_000, no_etag=True, ignore_condition=True, times=1))
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert [seen.range for seen in hub.seen] == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_file_that_became_shorter_starts_over(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=2_000_000, etag='"one"', times=1))
    hub.fault("/model.bin", Fault(etag='"one"'))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(unchecked(hub))
    hub.files["/model.bin"] = DATA[:1_000_000]
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA[:1_000_000]
    assert [seen.status for seen in hub.seen] == [200, 416, 200]


@pytest.mark.parametrize("fault", [Fault(no_etag=True), Fault(etag='W/"weak"')])
def test_without_a_digest_or_a_strong_etag_nothing_is_resumed(hub: FakeHub, make: Make, fault: Fault) -> None:
    hub.fault("/model.bin", replace(fault, cut=1_000_000, times=1))
    hub.fault("/model.bin", fault)
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert [seen.range for seen in hub.seen] == [None, None]


def test_without_a_digest_a_reboot_starts_over(hub: FakeHub, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(unchecked(hub))
    later = psutil.boot_time() + 3600
    monkeypatch.setattr(psutil, "boot_time", lambda: later)
    hub.forget()
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert hub.seen[0].range is None


def test_without_a_digest_a_whole_file_is_recognised(hub: FakeHub, make: Make) -> None:
    downloaded = make().fetch(unchecked(hub))
    assert downloaded is not None
    downloaded.release()
    again = make().fetch(unchecked(hub))
    assert again is not None
    assert again.downloaded_bytes == 0
    assert again.sha256 == sha256_digest(DATA)
    assert hub.seen[-1].status == 416


def test_another_expected_digest_under_the_same_key_starts_over(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    with pytest.raises(NetworkError):
        make(retries=RetryPolicy(attempts=1)).fetch(want(hub))
    hub.files["/model.bin"] = DATA[::-1]
    hub.forget()
    downloaded = make().fetch(want(hub, data=DATA[::-1]))
    assert downloaded is not None
    assert hub.seen[0].range is None


def test_a_web_page_does_not_cost_what_had_come(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    hub.fault("/model.bin", Fault(html=True))
    with pytest.raises(UpstreamError, match="web page"):
        make().fetch(want(hub))
    assert (tmp_path / "partials/key.part").stat().st_size == 1_000_000


def test_a_file_that_is_html_is_taken(hub: FakeHub, make: Make) -> None:
    page = b"<!doctype html><html></html>"
    hub.files["/demo.html"] = page
    downloaded = make().fetch(Download("demo.html", "page", (Location(hub.url + "/demo.html"),)))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == page


def test_backoff_is_exponential_jittered_and_bounded(hub: FakeHub, make: Make, pauses: Pauses) -> None:
    hub.fault("/model.bin", Fault(status=500))
    policy = RetryPolicy(attempts=8, base_seconds=1, longest_seconds=10)
    draws = iter([1.0, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0])
    with pytest.raises(NetworkError):
        make(retries=policy, jitter=lambda: next(draws)).fetch(want(hub))
    assert pauses.seconds == [1, 2, 2, 8, 10, 0, 10]


@pytest.mark.parametrize(("given", "pause"), [("7", 8.0), ("9999", 121.0), ("nonsense", 1.0)])
def test_retry_after_is_honoured_and_capped(hub: FakeHub, make: Make, pauses: Pauses, given: str, pause: float) -> None:
    hub.fault("/model.bin", Fault(status=503, retry_after=given, times=1))
    assert make().fetch(want(hub)) is not None
    assert pauses.seconds == [pause]


def test_nobody_there_is_given_up_sooner(make: Make, pauses: Pauses) -> None:
    with FakeHub() as gone:
        download = want(gone)
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1 \(tried 3 times\)") as caught:
        make().fetch(download)
    assert caught.value.remedy is not None
    assert len(pauses.seconds) == 2


def test_a_name_that_does_not_resolve(make: Make) -> None:
    download = Download("m", "key", (Location("http://nowhere.invalid/m"),))
    with pytest.raises(NetworkError, match=r"the name nowhere\.invalid cannot be resolved|no connection|proxy"):
        make().fetch(download)


def test_a_trickle_counts_as_a_stall(hub: FakeHub, make: Make) -> None:
    """The clock runs 10 s per look, so the 60 s window ends after a few of the tiny blocks."""
    hub.fault("/model.bin", Fault(trickle=(100, 0.002), times=1))
    ticks = iter(range(0, 10**9, 10))
    downloaded = make(clock=lambda: float(next(ticks))).fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert hub.seen[0].range is None
    assert hub.seen[1].range is not None


def test_the_next_location_is_asked_after_a_failure(hub: FakeHub, make: Make) -> None:
    hub.files["/mirror.bin"] = DATA
    hub.fault("/mirror.bin", Fault(flip=100))
    locations = (Location(hub.url + "/none"), Location(hub.url + "/mirror.bin"), Location(hub.url + "/model.bin"))
    downloaded = make().fetch(Download("m", "key", locations, len(DATA), sha256_digest(DATA)))
    assert downloaded is not None
    assert downloaded.url == hub.url + "/model.bin"
    assert downloaded.path.read_bytes() == DATA


def test_a_mirrors_half_is_not_blamed_on_the_next(hub: FakeHub, make: Make) -> None:
    """A mirror that sends wrong bytes and then breaks down: the Hub's rest is appended, found wrong, and all is asked
    of the Hub once more."""
    hub.files["/mirror.bin"] = DATA
    hub.fault("/mirror.bin", Fault(flip=100, cut=1_000_000, times=1))
    hub.fault("/mirror.bin", Fault(status=403))
    locations = (Location(hub.url + "/mirror.bin"), Location(hub.url + "/model.bin"))
    downloaded = make().fetch(Download("m", "key", locations, len(DATA), sha256_digest(DATA)))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert [seen.range for seen in hub.downloads("/model.bin")] == ["bytes=1000000-", None]


def test_a_wrong_byte_is_reported_before_other_failures(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(flip=100))
    locations = (Location(hub.url + "/model.bin"), Location(hub.url + "/none"))
    with pytest.raises(WrongBytesError):
        make().fetch(Download("m", "key", locations, len(DATA), sha256_digest(DATA)))
