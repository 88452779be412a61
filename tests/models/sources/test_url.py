from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels.downloads import Downloaded, Downloader, RetryPolicy
from casmodels.errors import NetworkError, UpstreamError, WrongBytesError
from casmodels.sources.url import UrlSource
from casstore.digests import sha256_digest
from casstore.errors import InvalidInputError
from tests.hub import FakeHub, Fault

DATA = b"weights!" * 300_000


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.files["/dir/yolov8n.pt"] = DATA
        yield hub


@pytest.fixture
def downloader(tmp_path: Path) -> Iterator[Downloader]:
    with Downloader(tmp_path, retries=RetryPolicy(attempts=1), wait=lambda _: False) as downloader:
        yield downloader


def fetch(downloader: Downloader, source: UrlSource) -> Downloaded:
    downloaded = downloader.fetch(source.download())
    assert downloaded is not None
    return downloaded


@pytest.mark.parametrize("checksum", [None, str(sha256_digest(DATA)), sha256_digest(DATA).hex.upper()])
def test_a_checksum_is_given_or_learnt(hub: FakeHub, downloader: Downloader, checksum: str | None) -> None:
    source = UrlSource.parse(f"{hub.url}/dir/yolov8n.pt", checksum)
    downloaded = fetch(downloader, source)
    assert downloaded.sha256 == sha256_digest(DATA)
    assert downloaded.path.read_bytes() == DATA
    assert source.file_name(downloaded) == "yolov8n.pt"
    assert hub.seen[0].token is None


def test_another_checksum_is_a_wrong_byte(hub: FakeHub, downloader: Downloader) -> None:
    source = UrlSource.parse(f"{hub.url}/dir/yolov8n.pt?key=geheim", "sha256:" + "0" * 64)
    with pytest.raises(WrongBytesError, match=r"/dir/yolov8n\.pt came wrong") as caught:
        fetch(downloader, source)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("checksum", [None, str(sha256_digest(DATA))])
def test_it_is_resumed(hub: FakeHub, downloader: Downloader, checksum: str | None) -> None:
    hub.fault("/dir/yolov8n.pt", Fault(cut=1_500_000, times=1))
    source = UrlSource.parse(f"{hub.url}/dir/yolov8n.pt", checksum)
    with pytest.raises(NetworkError):
        fetch(downloader, source)
    assert fetch(downloader, source).downloaded_bytes == len(DATA) - 1_500_000
    assert hub.seen[1].range == "bytes=1500000-"


@pytest.mark.parametrize("checksum", [None, str(sha256_digest(DATA))])
def test_a_web_page_is_refused(hub: FakeHub, downloader: Downloader, checksum: str | None) -> None:
    hub.fault("/dir/yolov8n.pt", Fault(html=True))
    with pytest.raises(UpstreamError, match="web page instead of the file"):
        fetch(downloader, UrlSource.parse(f"{hub.url}/dir/yolov8n.pt", checksum))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="v2.pt"', "v2.pt"),
        ("attachment; filename=v2.pt", "v2.pt"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.pt", "€ rates.pt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\dir\\\\x.pt"', "x.pt"),
        ('attachment; filename=".."', "yolov8n.pt"),
        ('attachment; filename=""', "yolov8n.pt"),
        ('attachment; filename="/"', "yolov8n.pt"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ("inline", "yolov8n.pt"),
        ("%%%", "yolov8n.pt"),
        (f'attachment; filename="{"x" * 500}.pt"', "x" * 200),
    ],
)
def test_the_servers_name_is_taken_with_care(hub: FakeHub, downloader: Downloader, disposition: str, name: str) -> None:
    hub.dispositions["/dir/yolov8n.pt"] = disposition
    source = UrlSource.parse(f"{hub.url}/dir/yolov8n.pt")
    assert source.file_name(fetch(downloader, source)) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/model.pt?download=1#x", "model.pt"),
        ("https://host/a%20b.pt", "a b.pt"),
        ("https://host/a%2F..%2Fb.pt", "b.pt"),
        ("https://host/%ff.pt", "\udcff.pt"),
        ("https://host/a%0ab.pt", "ab.pt"),
        ("https://host/dir/", "dir"),
        ("https://host/..", "model"),
        ("https://host", "model"),
    ],
)
def test_the_name_in_a_url(url: str, name: str) -> None:
    assert UrlSource.parse(url).file_name() == name


@pytest.mark.parametrize(
    ("url", "checksum"),
    [
        ("file:///etc/passwd", None),
        ("ftp://host/x", None),
        ("http://", None),
        ("http://host:99999/x", None),
        ("https://host/x", "sha256:12"),
        ("https://host/x", "md5:" + "0" * 32),
        ("https://host/x", "blake3:" + "0" * 64),
        ("https://host/x", ""),
    ],
)
def test_what_cannot_be_used_is_refused(url: str, checksum: str | None) -> None:
    with pytest.raises(InvalidInputError):
        UrlSource.parse(url, checksum)


def test_secrets_stay_out_of_what_is_shown() -> None:
    source = UrlSource.parse("https://me:word@host:8443/a/m.pt?key=geheim#x")
    assert source.clean_url == source.download().name == "https://host:8443/a/m.pt"
