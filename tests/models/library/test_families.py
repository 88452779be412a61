"""The specs of families: how they are pulled, and that they take no name from anybody."""

from __future__ import annotations

from pathlib import Path

from casmodels.library import PullOptions, Store
from tests.hub import FakeHub

OPTIONS = PullOptions(low_priority=False)
FILES = {"yolov8n.pt": b"nano", "yolov8x.pt": b"large", "README.md": b"#"}


def test_only_the_file_that_a_spec_names_is_pulled(store: Store, hub: FakeHub) -> None:
    hub.add("Ultralytics/YOLOv8", FILES)
    (result,) = store.pull(["yolov8n"], OPTIONS)
    assert (result.name, result.files, result.error) == ("Ultralytics/YOLOv8", 1, None)
    assert b"".join(store.cat("yolov8n", "yolov8n.pt")) == b"nano"
    assert store.info("yolov8n")[0].type == "vision/detection"
    (more,) = store.pull(["yolov8n"], PullOptions(low_priority=False, include=("*x.pt",)))
    assert more.error is None
    assert b"".join(store.cat("yolov8n", "yolov8x.pt")) == b"large"


def test_all_are_the_four_defaults(store: Store, hub: FakeHub) -> None:
    results = store.pull([], PullOptions(low_priority=False, all_models=True, dry_run=True))
    assert [result.model for result in results] == [
        *("embedding-ada-002", "embedding-large", "gpt-3.5-turbo-instruct", "text-classifier-roberta"),
    ]


def test_a_file_behind_a_url_may_have_the_name_of_a_family(store: Store, hub: FakeHub) -> None:
    hub.files["/yolov8n.pt"] = b"mine"
    hub.add("Ultralytics/YOLOv8", FILES)
    (result,) = store.pull([f"{hub.url}/yolov8n.pt"], OPTIONS)
    assert (result.name, result.error) == ("yolov8n", None)
    assert b"".join(store.cat("yolov8n", "yolov8n.pt")) == b"mine"
    assert store.pull(["yolov8n"], OPTIONS)[0].repo is None


def test_versions_of_ones_own_may_have_the_name_of_a_family(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"mine")
    store.checkpoint("whisper-tiny", tmp_path / "run")
    assert b"".join(store.cat("whisper-tiny", "model.pt")) == b"mine"
    (tmp_path / "run" / "model.pt").write_bytes(b"better")
    store.checkpoint("whisper-tiny")
    (refused,) = store.pull(["whisper-tiny"], OPTIONS)
    assert refused.error is not None
    assert "a name of your own" in refused.error.message


def test_what_nobody_named_has_the_type_of_its_card(store: Store, hub: FakeHub) -> None:
    hub.add("org/ears", FILES, pipeline_tag="automatic-speech-recognition")
    store.pull(["org/ears"], OPTIONS)
    assert [model.name for model in store.list(type="audio/stt")] == ["org/ears"]
