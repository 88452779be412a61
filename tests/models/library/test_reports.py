from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from casmodels.library import PullOptions, Store
from casmodels.progress import SilentProgress
from tests.hub import FakeHub, Fault


class Recorder(SilentProgress):
    """Remembers what was logged."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, object]] = []

    def log(self, event: Mapping[str, object]) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_every_download_of_a_repo_is_told(store: Store, hub: FakeHub, recorder: Recorder) -> None:
    hub.add("org/name", {"config.json": b"{}", "model.safetensors": os.urandom(5000)})
    hub.fault("org/name/model.safetensors", Fault(status=404))
    store.pull(["org/name"], PullOptions(low_priority=False), recorder)
    told = {event["path"]: (event["model"], event["status"], event["size_bytes"]) for event in recorder.events}
    assert told == {
        "config.json": ("org/name", "completed", 2),
        "model.safetensors": ("org/name", "failed", 5000),
    }
    assert {event["path"]: event["error"] is None for event in recorder.events} == {
        "config.json": True,
        "model.safetensors": False,
    }


def test_the_download_of_a_url_is_told(store: Store, hub: FakeHub, recorder: Recorder) -> None:
    hub.files["/yolov8n.pt"] = os.urandom(5000)
    store.pull([f"{hub.url}/yolov8n.pt", f"{hub.url}/none.pt"], PullOptions(low_priority=False), recorder)
    assert [(event["path"], event["status"]) for event in recorder.events] == [
        ("yolov8n.pt", "completed"),
        ("none.pt", "failed"),
    ]
