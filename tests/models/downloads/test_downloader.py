from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casmodels.downloads import Credentials, Download, Downloader, Location, RetryPolicy, list_partials
from casmodels.errors import (
    AccessError,
    InterruptedPullError,
    MissingUpstreamError,
    NetworkError,
    UpstreamError,
    WrongBytesError,
)
from casstore.digests import Digest, git_blob_digest, sha256_digest
from casstore.errors import InvalidInputError, StoreError
from tests.hub import FakeHub, Fault

DATA = random.Random(7).randbytes(3_000_000)
SMALL = b'{"a": 1}\n'


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.files["/model.bin"] = DATA
        hub.files["/small.json"] = SMALL
        yield hub


class Pauses:
    """Stands in for sleeping; keeps what was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def make(tmp_path: Path, pauses: Pauses) -> Iterator[Callable[..., Downloader]]:
    made = []

    def make(**options: object) -> Downloader:
        settings = {"wait": pauses, "jitter": lambda: 1.0, "stall_seconds": 0.3} | options
        made.append(Downloader(tmp_path / "partials", **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for downloader in made:
        downloader.__exit__(None, None, None)


def want(
    hub: FakeHub, path: str = "/model.bin", data: bytes = DATA, expected: Digest | None = None, **more: object
) -> Download:
    expected = expected or sha256_digest(data)
    return Download(path[1:], "key", (Location(hub.url + path),), len(data), expected, **more)  # type: ignore[arg-type]


def unchecked(hub: FakeHub) -> Download:
    return Download("model.bin", "key", (Location(hub.url + "/model.bin"),))


Make = Callable[..., Downloader]


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
    from dataclasses import replace

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


# Who may see a token


def test_the_token_goes_to_its_origin_only(hub: FakeHub, make: Make) -> None:
    hub.tokens.add("hf_secret")
    with FakeHub("localhost") as other:
        other.files["/elsewhere"] = DATA
        hub.fault("/model.bin", Fault(redirect=other.url + "/elsewhere"))
        location = Location(hub.url + "/model.bin", Credentials(hub.url + "/prefix", "hf_secret"))
        assert make().fetch(Download("m", "key", (location,), len(DATA), sha256_digest(DATA))) is not None
        assert [seen.token for seen in hub.seen] == ["hf_secret"]
        assert [seen.token for seen in other.seen] == [None]


def test_another_port_is_another_origin(hub: FakeHub, make: Make) -> None:
    with FakeHub() as other:
        other.files["/elsewhere"] = SMALL
        hub.fault("/small.json", Fault(redirect=other.url + "/elsewhere"))
        location = Location(hub.url + "/small.json", Credentials(hub.url, "hf_secret"))
        assert make().fetch(Download("m", "key", (location,), len(SMALL), sha256_digest(SMALL))) is not None
        assert [seen.token for seen in other.seen] == [None]


def test_a_redirect_back_gets_the_token_again(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(redirect="/renamed.bin"))
    hub.files["/renamed.bin"] = SMALL
    location = Location(hub.url + "/model.bin", Credentials(hub.url, "hf_secret"))
    assert make().fetch(Download("m", "key", (location,))) is not None
    assert [seen.token for seen in hub.seen] == ["hf_secret", "hf_secret"]


@pytest.mark.parametrize(
    ("endpoint", "url", "allowed"),
    [
        ("https://hub.co", "https://hub.co/a", True),
        ("https://hub.co", "https://HUB.co:443/a", True),
        ("https://hub.co/prefix", "https://hub.co/a", True),
        ("https://hub.co", "http://hub.co/a", False),
        ("https://hub.co", "https://cdn.hub.co/a", False),
        ("https://hub.co", "https://hub.co:8443/a", False),
        ("http://hub.co:8080", "http://hub.co/a", False),
        ("https://hub.co:8080", "http://hub.co:8080/a", False),
        ("https://hub.co", "https://hub.co.evil.org/a", False),
        ("https://hub.co", "https://evil.org/https://hub.co/", False),
        ("https://hub.co", "https://hub.co@evil.org/", False),
    ],
)
def test_origins(endpoint: str, url: str, allowed: bool) -> None:
    assert Credentials(endpoint, "t").allow(url) is allowed


def test_netrc_is_never_asked(hub: FakeHub, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\nmachine localhost login a password b\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with FakeHub("localhost") as other:
        other.files["/elsewhere"] = DATA
        hub.fault("/model.bin", Fault(redirect=other.url + "/elsewhere"))
        assert make().fetch(want(hub)) is not None
        assert [seen.token for seen in hub.seen + other.seen] == [None, None]


def test_a_password_in_the_url_goes_to_that_host_only(hub: FakeHub, make: Make) -> None:
    with FakeHub("localhost") as other:
        other.files["/elsewhere"] = SMALL
        hub.fault("/small.json", Fault(redirect=other.url + "/elsewhere"))
        url = hub.url.replace("http://", "http://me:word@") + "/small.json"
        downloaded = make().fetch(Download("m", "key", (Location(url),)))
        assert downloaded is not None
        assert hub.seen[0].token is not None
        assert hub.seen[0].token.startswith("Basic ")
        assert other.seen[0].token is None


def test_a_proxy_of_the_environment_is_used(hub: FakeHub, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    location = Location("http://models.invalid/model.bin")
    assert make().fetch(Download("m", "key", (location,), len(DATA), sha256_digest(DATA))) is not None
    assert hub.proxied == ["http://models.invalid/model.bin"]


def test_compression_is_not_asked_for_and_not_undone(hub: FakeHub, make: Make) -> None:
    hub.fault("/model.bin", Fault(encoding="gzip"))
    downloaded = make().fetch(want(hub))
    assert downloaded is not None
    assert downloaded.path.read_bytes() == DATA
    assert hub.seen[0].headers["accept-encoding"] == "identity"


def test_secrets_do_not_reach_the_disk_or_a_repr(hub: FakeHub, make: Make, tmp_path: Path) -> None:
    hub.fault("/model.bin", Fault(cut=1_000_000, times=1))
    url = hub.url + "/model.bin?signature=geheim"
    location = Location(url, Credentials(hub.url, "hf_geheim"))
    with pytest.raises(NetworkError) as caught:
        make(retries=RetryPolicy(attempts=1)).fetch(Download("m", "key", (location,), len(DATA), None))
    assert b"geheim" not in (tmp_path / "partials/key.part.json").read_bytes()
    assert "geheim" not in str(caught.value)
    assert "geheim" not in repr(location.credentials)


# Many at once


def many(hub: FakeHub, count: int) -> list[Download]:
    downloads = []
    for number in range(count):
        data = b"%d" % number * 1000
        hub.files[f"/{number}"] = data
        location = Location(f"{hub.url}/{number}")
        downloads.append(Download(str(number), f"k{number}", (location,), len(data), sha256_digest(data)))
    return downloads


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
