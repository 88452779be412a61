from __future__ import annotations

from pathlib import Path

import pytest

from casmodels.downloads import Credentials, Download, Location, RetryPolicy
from casmodels.errors import (
    NetworkError,
)
from casstore.digests import sha256_digest
from tests.hub import FakeHub, Fault
from tests.models.downloads.wanting import DATA, SMALL, Make, want


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
