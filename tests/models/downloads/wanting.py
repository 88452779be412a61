"""What the tests ask a downloader for."""

from __future__ import annotations

import random
from collections.abc import Callable

from casmodels.downloads import Download, Downloader, Location
from casstore.digests import Digest, sha256_digest
from tests.hub import FakeHub

DATA = random.Random(7).randbytes(3_000_000)
SMALL = b'{"a": 1}\n'
Make = Callable[..., Downloader]
"""Makes a downloader with short time-outs; its options are `Downloader`'s."""


class Pauses:
    """Stands in for sleeping; keeps what was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


def want(
    hub: FakeHub, path: str = "/model.bin", data: bytes = DATA, expected: Digest | None = None, **more: object
) -> Download:
    expected = expected or sha256_digest(data)
    return Download(path[1:], "key", (Location(hub.url + path),), len(data), expected, **more)  # type: ignore[arg-type]


def unchecked(hub: FakeHub) -> Download:
    return Download("model.bin", "key", (Location(hub.url + "/model.bin"),))


def many(hub: FakeHub, count: int) -> list[Download]:
    downloads = []
    for number in range(count):
        data = b"%d" % number * 1000
        hub.files[f"/{number}"] = data
        location = Location(f"{hub.url}/{number}")
        downloads.append(Download(str(number), f"k{number}", (location,), len(data), sha256_digest(data)))
    return downloads
