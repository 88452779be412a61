"""What a pull says of a licence, and when."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from casmodels.library import PullOptions, Store
from casmodels.progress import SilentProgress
from casmodels.results import PullResult
from tests.hub import FakeHub

FILES = {"model.safetensors": b"w" * 1000}


class Listening(SilentProgress):
    """Remembers the warnings, and how many files had been asked for by then."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub
        self.heard: list[tuple[object, int]] = []

    def log(self, event: Mapping[str, object]) -> None:
        if "warning" in event:
            assert event["level"] == "warning"
            self.heard.append((event["warning"], len(self._hub.downloads())))


def pull(store: Store, progress: SilentProgress, **options: object) -> PullResult:
    (result,) = store.pull(["org/name"], PullOptions(low_priority=False, **options), progress)  # type: ignore[arg-type]
    return result


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"license": "agpl-3.0"}, "its licence, agpl-3.0, asks for the source"),
        ({"license": "other", "license_name": "llama3"}, "its licence, llama3, has terms of its maker's own"),
        ({"license": "other"}, "its licence, other, is not known here"),
        ({"license": "x" * 100_000}, "its licence, xxxx"),
        ({}, "its card names no licence"),
    ],
)
def test_a_licence_that_is_not_permissive_is_told_before_a_byte_is_fetched(
    store: Store, hub: FakeHub, card: dict[str, str], words: str
) -> None:
    hub.add("org/name", FILES, card=card)
    progress = Listening(hub)
    (warning,) = pull(store, progress, dry_run=True).warnings
    result = pull(store, progress)
    assert result.error is None
    assert result.warnings == (warning,)
    assert progress.heard == [(warning, 0), (warning, 0)]
    assert warning.startswith(words)
    assert len(warning) < 250


def test_the_licence_is_kept_and_shown(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES, card={"license": "openrail"})
    pull(store, SilentProgress())
    assert store.info("org/name")[0].licence == "openrail"


def test_of_a_permissive_licence_nothing_is_said_nor_of_what_is_here(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES, card={"license": "mit"})
    progress = Listening(hub)
    assert pull(store, progress).warnings == ()
    hub.add("org/name", {**FILES, "more": b""}, card={"license": "agpl-3.0"})
    assert len(pull(store, progress).warnings) == 1
    assert pull(store, progress).warnings == ()
    assert len(progress.heard) == 1
