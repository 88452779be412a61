from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels.config import HUB_ENDPOINT
from casmodels.downloads import Downloader, RetryPolicy
from casmodels.errors import (
    AccessError,
    MissingRevisionError,
    MissingUpstreamError,
    NetworkError,
    OfflineError,
    UpstreamError,
    WrongBytesError,
)
from casmodels.sources import bounds
from casmodels.sources.hub import HubSource
from casstore.digests import git_blob_digest, sha256_digest
from casstore.errors import InvalidInputError, StoreError
from tests.hub import FakeHub, Fault

FILES = {
    "config.json": b'{"hidden": 384}\n',
    "model.safetensors": b"weights " * 1000,
    "1_Pooling/config.json": b"{}",
    "a b#%20é\n.txt": b"strange",
    "\udcff.txt": b"no UTF-8",
    "empty": b"",
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def mirror() -> Iterator[FakeHub]:
    with FakeHub() as mirror:
        yield mirror


def source(endpoint: FakeHub | None = None, **options: Any) -> HubSource:
    options = {"wait": lambda _: False} | options
    return HubSource(endpoint.url if endpoint else None, **options)


def behind_mirror(hub: FakeHub, mirror: FakeHub, **options: Any) -> HubSource:
    """A source as if ``hub`` were the public Hub: that endpoint is the only one that lets a mirror in."""
    made = source(mirror=mirror.url, **options)
    made.endpoint = hub.url
    return made


def test_a_revision_is_resolved_with_one_request(hub: FakeHub) -> None:
    commit = hub.add("org/name", FILES)
    resolved = source(hub).resolve("org/name")
    assert (resolved.commit, resolved.answered_by) == (commit, "hub")
    assert [seen.path for seen in hub.seen] == ["/api/models/org/name/revision/main"]


def test_the_library_asks_nothing_else_in_a_fresh_process(hub: FakeHub, tmp_path: Path) -> None:
    """No list of agents, no telemetry, no token from the environment, no warnings; but what the user's own code has
    the library log is left alone.
    """
    hub.add("org/name", FILES)
    hub.info_headers = {"X-HF-Warning": "topic; a warning to whoever logs"}
    program = (
        "import logging;"
        "from casmodels.sources.hub import HubSource;"
        f"print(HubSource({hub.url!r}).resolve('org/name').commit);"
        "logging.getLogger('huggingface_hub.utils').warning('own use')"
    )
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_TOKEN": "hf_from_the_environment",
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "PYTHONPATH": ":".join(sys.path),
        "AGENT": "x",
    }
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stderr == "own use\n"
    assert [(seen.path, seen.token) for seen in hub.seen] == [("/api/models/org/name/revision/main", None)]


def test_netrc_is_never_asked(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.add("org/name", FILES)
    source(hub).resolve("org/name")
    assert hub.seen[0].token is None


def test_a_token_does_not_follow_a_redirect_to_another_host(hub: FakeHub) -> None:
    hub.tokens.add("hf_secret")
    with FakeHub("localhost") as other:
        other.add("org/name", FILES)
        path = "/api/models/org/name/revision/main"
        hub.fault(path, Fault(redirect=other.url + path))
        source(hub, token="hf_secret").resolve("org/name")
        assert [seen.token for seen in hub.seen] == ["hf_secret"]
        assert [seen.token for seen in other.seen] == [None]


def test_importing_the_source_does_not_import_the_library() -> None:
    program = (
        "import sys, casmodels.sources.hub, casmodels.downloads;"
        "print([m for m in ('huggingface_hub', 'requests', 'httpx2', 'psutil') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("siblings_have_blobs", [True, False])
def test_a_listing_has_every_file_with_its_digest(hub: FakeHub, siblings_have_blobs: bool) -> None:
    hub.siblings_have_blobs = siblings_have_blobs
    hub.page_entries = 2
    commit = hub.add("org/name", FILES)
    hubs = source(hub)
    listing = hubs.listing(hubs.resolve("org/name"))
    assert listing.commit == commit
    assert listing.vouched_by == "hub"
    assert [file.path for file in listing.files] == sorted(
        FILES, key=lambda path: path.encode("utf-8", "surrogateescape")
    )
    for file in listing.files:
        data = FILES[file.path]
        assert file.size_bytes == len(data)
        lfs = file.path.endswith(".safetensors")
        assert file.digest == (sha256_digest(data) if lfs else git_blob_digest(data))
        assert file.as_metadata().keys() == {"size", "blob_id", "lfs_sha256"} if lfs else {"size", "blob_id"}
    assert listing.size_bytes == sum(map(len, FILES.values()))
    assert listing.warnings == ()


def test_a_listing_says_what_the_card_says(hub: FakeHub) -> None:
    hub.add(
        "org/name",
        FILES,
        card={"license": "apache-2.0", "base_model": "org/base"},
        tags=["license:mit", "base_model:other"],
        library="transformers",
        pipeline_tag="text-generation",
        gated=True,
    )
    hubs = source(hub)
    listing = hubs.listing(hubs.resolve("org/name"))
    assert listing.licence == "apache-2.0"
    assert listing.base_models == ("org/base",)
    assert (listing.library, listing.pipeline_tag, listing.gated) == ("transformers", "text-generation", True)


@pytest.mark.parametrize(
    ("card", "tags", "licence", "base_models"),
    [
        ({}, [], None, ()),
        ({}, ["license:mit", "base_model:a/b", "base_model:finetune:a/b"], "mit", ("a/b",)),
        ({"license": "other", "license_name": "llama3"}, [], "llama3", ()),
        ({"license": ["mit", "gpl"], "base_model": ["a/b", "c/d"]}, [], "mit, gpl", ("a/b", "c/d")),
        ({"license": {"x": 1}, "base_model": 7}, [], None, ()),
    ],
)
def test_cards_of_many_kinds(
    hub: FakeHub, card: dict[str, Any], tags: list[str], licence: str | None, base_models: tuple[str, ...]
) -> None:
    hub.add("org/name", FILES, card=card, tags=tags)
    hubs = source(hub)
    listing = hubs.listing(hubs.resolve("org/name"))
    assert (listing.licence, listing.base_models) == (licence, base_models)


def test_what_is_listed_can_be_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("name", FILES)
    hubs = source(hub)
    listing = hubs.listing(hubs.resolve("name"))
    with Downloader(tmp_path) as downloader:
        for outcome in downloader.fetch_all(hubs.downloads(listing, listing.files)):
            assert outcome.downloaded is not None, outcome.error
            path = next(file.path for file in listing.files if file.digest == outcome.download.expected)
            assert outcome.downloaded.path.read_bytes() == FILES[path]
            outcome.downloaded.discard()


def test_branches_and_commits_are_revisions(hub: FakeHub) -> None:
    first = hub.add("org/name", FILES)
    second = hub.add("org/name", {"a": b"1"}, branch="refs/pr/1")
    hubs = source(hub)
    assert hubs.resolve("org/name", "refs/pr/1").commit == second
    assert hubs.resolve("org/name", first).commit == first
    assert [file.path for file in hubs.listing(hubs.resolve("org/name", second)).files] == ["a"]


@pytest.mark.parametrize(
    ("attributes", "token", "revision", "error", "match"),
    [
        (None, None, "main", MissingUpstreamError, "org/name does not exist upstream, or is private"),
        (None, "hf_good", "main", MissingUpstreamError, "org/name does not exist upstream"),
        (None, "hf_bad", "main", AccessError, "org/name: the token was not accepted"),
        ({"private": True}, None, "main", MissingUpstreamError, "or is private"),
        ({}, None, "v9", MissingRevisionError, "org/name at v9: there is no such revision"),
        ({"disabled": True}, None, "main", AccessError, "org/name has been disabled"),
    ],
)
def test_refusals(
    hub: FakeHub,
    attributes: dict[str, Any] | None,
    token: str | None,
    revision: str,
    error: type[StoreError],
    match: str,
) -> None:
    hub.tokens.add("hf_good")
    if attributes is not None:
        hub.add("org/name", FILES, **attributes)
    with pytest.raises(error, match=match) as caught:
        source(hub, token=token).resolve("org/name", revision)
    assert type(caught.value) is error
    assert caught.value.remedy
    assert len(hub.seen) == 1


def test_a_gated_repo_names_the_page_where_to_ask(hub: FakeHub, tmp_path: Path) -> None:
    hub.tokens |= {"hf_good"}
    hub.add("org/name", FILES, gated=True)
    for token in (None, "hf_good"):
        hubs = source(hub, token=token)
        listing = hubs.listing(hubs.resolve("org/name"))
        assert listing.gated
        weights = next(file for file in listing.files if file.path == "model.safetensors")
        with Downloader(tmp_path) as downloader:
            if token is not None:
                downloaded = downloader.fetch(hubs.download(listing, weights))
                assert downloaded is not None
                downloaded.discard()
                return
            with pytest.raises(AccessError, match=r"org/name/model\.safetensors is gated") as caught:
                downloader.fetch(hubs.download(listing, weights))
            assert f"{hub.url}/org/name" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("fault", "error", "requests"),
    [
        (Fault(status=503), NetworkError, 6),
        (Fault(status=429, retry_after="1"), NetworkError, 6),
        (Fault(drop=True), NetworkError, 6),
        (Fault(html=True), UpstreamError, 1),
        (Fault(), UpstreamError, 1),
        (Fault(status=400), UpstreamError, 1),
        (Fault(status=404), MissingUpstreamError, 1),
    ],
)
def test_servers_that_fail(hub: FakeHub, fault: Fault, error: type[StoreError], requests: int) -> None:
    hub.add("org/name", FILES)
    hub.fault("/api/models/org/name/revision/main", fault)
    with pytest.raises(error, match="org/name") as caught:
        source(hub).resolve("org/name")
    assert type(caught.value) is error
    assert len(hub.seen) == requests


def test_a_failure_that_passes_is_not_seen(hub: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
    commit = hub.add("org/name", FILES)
    hub.fault("/api/models/org/name/revision/main", Fault(status=503, retry_after="3", times=2))
    pauses: list[float] = []
    made = source(hub, wait=lambda seconds: bool(pauses.append(seconds)))
    assert made.resolve("org/name").commit == commit
    assert all(3 <= pause <= 4 for pause in pauses)
    assert len(pauses) == 2
    assert capfd.readouterr() == ("", "")


def test_a_server_that_says_nothing_is_given_up(hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    hub.fault("/api/models/org/name/revision/main", Fault(stall=(0, 60)))
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1 gave no answer \(tried 2 times\)"):
        source(hub, timeout_seconds=0.2, retries=RetryPolicy(attempts=2)).resolve("org/name")


def test_nobody_there() -> None:
    with FakeHub() as gone:
        pass
    made = source(gone)
    with pytest.raises(NetworkError, match=r"org/name: no connection to 127\.0\.0\.1 \(tried 3 times\)"):
        made.resolve("org/name")


def test_offline_asks_nobody(hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    with pytest.raises(OfflineError, match="org/name"):
        source(hub, offline=True).resolve("org/name")
    assert hub.seen == []


def test_the_librarys_own_offline_mode_counts(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.add("org/name", FILES)
    with pytest.raises(OfflineError):
        source(hub).resolve("org/name")
    assert hub.seen == []


@pytest.mark.parametrize("repo", ["a/b/c", "../x", "", "a b", "a//b", "-x", "x--y"])
def test_what_is_no_repo_id_is_refused(hub: FakeHub, repo: str) -> None:
    with pytest.raises((InvalidInputError, MissingUpstreamError)):
        source(hub).resolve(repo)


@pytest.mark.parametrize("endpoint", ["hub", "ftp://hub", "http://", "http://[::1", "http://hub:x", "/tmp"])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInputError):
        HubSource(endpoint)


SHA1, SHA256 = "0" * 40, "0" * 64


@pytest.mark.parametrize(
    "siblings",
    [
        [{"rfilename": "../x", "size": 1, "blobId": SHA1}],
        [{"rfilename": "/etc/passwd", "size": 1, "blobId": SHA1}],
        [{"rfilename": "a/../../x", "size": 1, "blobId": SHA1}],
        [{"rfilename": "a\0b", "size": 1, "blobId": SHA1}],
        [{"rfilename": "", "size": 1, "blobId": SHA1}],
        [{"rfilename": "\ud800", "size": 1, "blobId": SHA1}],
        [{"rfilename": 7, "size": 1, "blobId": SHA1}],
        [{"rfilename": "a", "size": -1, "blobId": SHA1}],
        [{"rfilename": "a", "size": "1", "blobId": SHA1}],
        [{"rfilename": "a", "size": 1, "blobId": "../../x"}],
        [{"rfilename": "a", "size": 1, "blobId": SHA1, "lfs": {"sha256": "x", "size": 1, "pointerSize": 1}}],
        [{"rfilename": "a", "size": 1, "blobId": SHA1}] * 2,
        [{"rfilename": "a", "size": 1, "blobId": SHA1}, {"rfilename": "a/b/c", "size": 1, "blobId": SHA1}],
    ],
    ids=lambda siblings: json.dumps(siblings)[:60],
)
def test_a_hostile_listing_is_refused(hub: FakeHub, siblings: list[dict[str, Any]]) -> None:
    hub.add("org/name", FILES)
    hubs = source(hub)
    resolved = hubs.resolve("org/name")
    hub.raw_siblings = siblings
    with pytest.raises(UpstreamError, match="org/name: the server"):
        hubs.listing(resolved)


def test_paths_that_differ_by_case_are_a_warning(hub: FakeHub) -> None:
    hub.add("org/name", {"README.md": b"1", "readme.md": b"2", "a": b""})
    hubs = source(hub)
    (warning,) = hubs.listing(hubs.resolve("org/name")).warnings
    assert "'README.md' and 'readme.md' differ only by case" in warning


def test_a_commit_that_is_none_is_refused(hub: FakeHub) -> None:
    hub.add("org/name", FILES, commit="../../../../etc")
    with pytest.raises(UpstreamError, match="which is none"):
        source(hub).resolve("org/name")


# A mirror in front


def test_the_mirror_is_asked_first_and_the_hub_vouches(hub: FakeHub, mirror: FakeHub, tmp_path: Path) -> None:
    hub.tokens.add("hf_secret")
    for server in (hub, mirror):
        server.add("org/name", FILES)
    hubs = behind_mirror(hub, mirror, token="hf_secret")
    resolved = hubs.resolve("org/name")
    assert resolved.answered_by == "mirror"
    assert hub.seen == []
    listing = hubs.listing(resolved)
    assert listing.vouched_by == "hub"
    with Downloader(tmp_path) as downloader:
        for outcome in downloader.fetch_all(hubs.downloads(listing, listing.files)):
            assert outcome.downloaded is not None
            outcome.downloaded.discard()
    assert hub.downloads() == []
    assert len(mirror.downloads()) == len([data for data in FILES.values() if data])
    assert {seen.token for seen in mirror.seen} == {None}
    assert {seen.token for seen in hub.seen} == {"hf_secret"}


def test_a_mirror_with_wrong_bytes_is_passed_over(hub: FakeHub, mirror: FakeHub, tmp_path: Path) -> None:
    for server in (hub, mirror):
        server.add("org/name", FILES)
    mirror.fault("org/name/model.safetensors", Fault(flip=100))
    hubs = behind_mirror(hub, mirror)
    listing = hubs.listing(hubs.resolve("org/name"))
    weights = next(file for file in listing.files if file.path == "model.safetensors")
    with Downloader(tmp_path) as downloader:
        downloaded = downloader.fetch(hubs.download(listing, weights))
        assert downloaded is not None
        assert downloaded.path.read_bytes() == FILES["model.safetensors"]
        downloaded.discard()
        hub.fault("org/name/model.safetensors", Fault(flip=100))
        with pytest.raises(WrongBytesError, match=r"org/name/model\.safetensors"):
            downloader.fetch(hubs.download(listing, weights))
    assert len(hub.downloads("/model.safetensors")) == 2


def test_without_the_hub_the_mirror_vouches(hub: FakeHub, mirror: FakeHub) -> None:
    commit = mirror.add("org/name", FILES)
    with FakeHub() as gone:
        pass
    hubs = behind_mirror(gone, mirror)
    listing = hubs.listing(hubs.resolve("org/name"))
    assert (listing.commit, listing.vouched_by) == (commit, "mirror")
    assert "only the mirror" in listing.warnings[-1]


def test_what_only_the_mirror_has_it_vouches_for(hub: FakeHub, mirror: FakeHub) -> None:
    mirror.add("org/name", FILES)
    hubs = behind_mirror(hub, mirror)
    assert hubs.listing(hubs.resolve("org/name")).vouched_by == "mirror"


def test_a_commit_that_the_hub_does_not_know_is_not_taken(hub: FakeHub, mirror: FakeHub) -> None:
    commit = hub.add("org/name", FILES)
    mirror.add("org/name", {"model.safetensors": b"evil"}, commit="e" * 40)
    hubs = behind_mirror(hub, mirror)
    resolved = hubs.resolve("org/name")
    assert resolved.commit == "e" * 40
    listing = hubs.listing(resolved)
    assert (listing.commit, listing.vouched_by) == (commit, "hub")
    assert len(listing.files) == len(FILES)


def test_what_the_mirror_lacks_comes_from_the_hub(hub: FakeHub, mirror: FakeHub) -> None:
    commit = hub.add("org/name", FILES)
    resolved = behind_mirror(hub, mirror).resolve("org/name")
    assert (resolved.commit, resolved.answered_by) == (commit, "hub")


def test_a_refusal_of_the_mirror_is_told_when_the_hub_is_out_of_reach(mirror: FakeHub) -> None:
    with FakeHub() as gone:
        pass
    with pytest.raises(MissingUpstreamError):
        behind_mirror(gone, mirror).resolve("org/name")


def test_an_endpoint_beats_the_mirror(hub: FakeHub, mirror: FakeHub) -> None:
    for server in (hub, mirror):
        server.add("org/name", FILES)
    hubs = source(hub, mirror=mirror.url)
    listing = hubs.listing(hubs.resolve("org/name"))
    assert len(hubs.download(listing, listing.files[0]).locations) == 1
    assert mirror.seen == []


def test_the_public_hub_is_the_default() -> None:
    made = HubSource(mirror="https://mirror.example/")
    assert (made.endpoint, made.mirror) == (HUB_ENDPOINT, "https://mirror.example")


@pytest.mark.parametrize("answer", [b"[" * 200_000, b" " * (33 << 20) + b"{}"], ids=["deep", "long"])
def test_an_answer_that_is_too_deep_or_too_long_is_refused(hub: FakeHub, answer: bytes) -> None:
    hub.files["/api/models/org/name/revision/main"] = answer
    with pytest.raises(UpstreamError, match="answered"):
        source(hub).resolve("org/name")


def test_an_answer_that_is_compressed_is_refused(hub: FakeHub) -> None:
    hub.files["/api/models/org/name/revision/main"] = b"{}"
    hub.fault("/api/models/org/name/revision/main", Fault(encoding="gzip"))
    with pytest.raises(UpstreamError, match="compressed"):
        source(hub).resolve("org/name")


_DEEP = json.loads("[" * 300 + "]" * 300)


@pytest.mark.parametrize("card", [True, 7, "text", [1], {"to_dict": 1, "get": 2}, {"deep": _DEEP}])
def test_a_card_that_is_none_says_nothing(hub: FakeHub, card: Any) -> None:
    hub.add("org/name", FILES, card=card)
    hubs = source(hub)
    assert hubs.listing(hubs.resolve("org/name")).licence is None


def test_pages_without_end_are_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_MOST_BYTES", 20_000)
    hub.siblings_have_blobs = False
    hub.page_entries = 1
    hub.add("org/name", {str(number): b"" for number in range(100)})
    hubs = source(hub)
    resolved = hubs.resolve("org/name")
    with pytest.raises(UpstreamError, match="more than any repo's description has"):
        hubs.listing(resolved)
    assert len(hub.seen) < 30


def test_an_answer_that_takes_for_ever_is_given_up() -> None:
    now = iter(range(0, 10_000, 100))
    budget = bounds.Budget("hub", clock=lambda: next(now))
    with pytest.raises(UpstreamError, match="too long"):
        list(budget.bounded(itertools.repeat(b"x")))
