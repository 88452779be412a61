"""The view by category: what goes where, what is brought up to date, and what is the user's."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from casmodels.configs.download_list import read_download_list
from casmodels.configs.folders import FOLDERS, folder_of
from casmodels.configs.model_configs import read_model_configs
from casmodels.errors import ConfigurationError
from casmodels.library import PullOptions, Store
from casmodels.specs import ModelType
from casstore.errors import FullError, InvalidInputError, NotFoundError
from casstore.testing.faults import Failing, hooked
from tests.hub import FakeHub
from tests.models.library.conftest import MakeStore

OPTIONS = PullOptions(low_priority=False)
WEIGHTS = os.urandom(60_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
TREE = {
    "audio/whisper", "audio/tts", "audio/vad", "vision/object_detection", "vision/face_recognition",
    "vision/image_generation", "nlp/embeddings", "nlp/classifiers", "nlp/generators", "trading/predictors",
    "trading/rl", "trading/anomaly", "cache/huggingface", "configs",
}  # fmt: skip


@pytest.fixture
def filled(store: Store, hub: FakeHub, tmp_path: Path) -> Iterator[Store]:
    """One model with a spec, one whose card says what it does, one of the user's own."""
    hub.add("openai/whisper-tiny", FILES)
    hub.add("org/speaker", {"voice.bin": b"voice"}, pipeline_tag="text-to-speech")
    for result in store.pull(["whisper-tiny", "org/speaker"], OPTIONS):
        assert result.error is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lstm.pt").write_bytes(b"lstm")
    store.checkpoint("btc-lstm", tmp_path / "run")
    yield store
    assert store.verify(data=True).ok


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def paths_in(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}


def plain_files(directory: Path) -> set[str]:
    return {path for path in paths_in(directory) if not path.startswith("cache/")}


def test_the_whole_tree_is_there_and_every_model_in_its_folder(filled: Store, models: Path) -> None:
    result = filled.view_categories(models)
    assert {folder for folder in TREE if not (models / folder).is_dir()} == set()
    assert result.folders == {
        "openai/whisper-tiny": "audio/whisper/whisper-tiny",
        "org/speaker": "audio/tts/speaker",
        "btc-lstm": "other/btc-lstm",
    }
    assert plain_files(models) == {
        *("audio/whisper/whisper-tiny/config.json", "audio/whisper/whisper-tiny/model.safetensors"),
        *("audio/tts/speaker/voice.bin", "other/btc-lstm/lstm.pt"),
        *("configs/download_list.json", "configs/model_configs.json"),
    }
    assert (models / "audio/whisper/whisper-tiny/model.safetensors").read_bytes() == WEIGHTS
    assert (result.layout, result.path, result.kept) == ("categories", str(models), ())
    assert result.views_bytes == filled.stats().views_bytes > 2 * len(WEIGHTS)


def test_the_hub_cache_has_what_came_from_the_hub(filled: Store, models: Path) -> None:
    result = filled.view_categories(models)
    assert result.exports["HF_HOME"] == result.hf_home == str(models / "cache/huggingface")
    hub = models / "cache/huggingface/hub"
    assert {path.name for path in hub.glob("models--*")} == {"models--openai--whisper-tiny", "models--org--speaker"}
    (weights,) = hub.glob("models--openai--whisper-tiny/snapshots/*/model.safetensors")
    assert weights.read_bytes() == WEIGHTS


def test_the_list_there_brings_the_same_in_again(
    filled: Store, models: Path, make_store: MakeStore, hub: FakeHub
) -> None:
    filled.view_categories(models)
    assert [entry.name for entry in read_download_list(models / "configs/download_list.json")] == [
        *("whisper-tiny", "speaker"),
    ]
    assert set(read_model_configs(models / "configs/model_configs.json")) == {"whisper-tiny", "speaker", "btc-lstm"}
    other = make_store("other", HF_ENDPOINT=hub.url)
    results = other.pull_list(models / "configs/download_list.json", OPTIONS)
    assert [(result.model, result.error) for result in results] == [("whisper-tiny", None), ("speaker", None)]
    assert b"".join(other.cat("whisper-tiny", "model.safetensors")) == WEIGHTS


def test_a_url_is_listed_with_its_checksum(store: Store, hub: FakeHub, models: Path) -> None:
    hub.files["/yolov8n.pt"] = b"detector"
    path = models.parent / "list.json"
    entry = {"name": "yolov8n", "type": "vision/detection", "source": "ultralytics", "url": f"{hub.url}/yolov8n.pt"}
    path.write_text(json.dumps({"models": [entry]}))
    store.pull_list(path, OPTIONS)
    assert store.view_categories(models).folders == {"yolov8n": "vision/object_detection/yolov8n"}
    (listed,) = read_download_list(models / "configs/download_list.json")
    assert (listed.url, listed.type) == (entry["url"], ModelType.VISION_DETECTION)
    assert listed.checksum is not None


def test_the_users_configuration_says_the_type(filled: Store, models: Path) -> None:
    filled.view_categories(models)
    configs = models / "configs/model_configs.json"
    configs.write_text('{"models": {"btc-lstm": {"type": "trading/predictor", "device": "cpu"}}}')
    before = configs.read_bytes()
    result = filled.view_categories(models)
    assert result.folders["btc-lstm"] == "trading/predictors/btc-lstm"
    assert result.kept == ()
    assert configs.read_bytes() == before
    assert not (models / "other/btc-lstm").exists()


def test_a_second_run_brings_it_up_to_date_and_writes_nothing_else(
    filled: Store, hub: FakeHub, models: Path, tmp_path: Path
) -> None:
    filled.view_categories(models)
    inode = (models / "audio/whisper/whisper-tiny/model.safetensors").stat().st_ino
    listed = (models / "configs/download_list.json").stat().st_ino
    assert filled.view_categories(models).kept == ()
    assert (models / "configs/download_list.json").stat().st_ino == listed
    (tmp_path / "run" / "lstm.pt").write_bytes(b"trained")
    filled.checkpoint("btc-lstm", tmp_path / "run")
    filled.remove("org/speaker")
    hub.add("org/ears", {"new.bin": b"new"}, pipeline_tag="automatic-speech-recognition")
    filled.pull(["org/ears"], OPTIONS)
    result = filled.view_categories(models)
    assert (result.kept, result.folders.keys()) == ((), {"openai/whisper-tiny", "org/ears", "btc-lstm"})
    assert (models / "other/btc-lstm/lstm.pt").read_bytes() == b"trained"
    assert (models / "audio/whisper/whisper-tiny/model.safetensors").stat().st_ino == inode
    assert (models / "audio/tts").is_dir()
    assert not (models / "audio/tts/speaker").exists()
    assert not (models / "cache/huggingface/hub/models--org--speaker").exists()
    assert {entry.name for entry in read_download_list(models / "configs/download_list.json")} == {
        *("whisper-tiny", "ears"),
    }


def test_nothing_of_the_users_is_overwritten(filled: Store, models: Path, tmp_path: Path) -> None:
    (models / "audio/whisper/whisper-tiny").mkdir(parents=True)
    (models / "audio/whisper/whisper-tiny/config.json").write_text("mine")
    (models / "audio/tts").mkdir()
    (models / "audio/tts/speaker").write_text("a file of mine")
    (models / "configs").mkdir()
    (models / "configs/download_list.json").write_text("mine too")
    filled.checkout("btc-lstm", models / "other/btc-lstm")
    (tmp_path / "run" / "lstm.pt").write_bytes(b"trained")
    filled.checkpoint("btc-lstm", tmp_path / "run")
    result = filled.view_categories(models)
    assert set(result.kept) == {
        str(models / path)
        for path in (
            *("audio/whisper/whisper-tiny/config.json", "audio/tts/speaker", "configs/download_list.json"),
            "other/btc-lstm",
        )
    }
    assert (models / "audio/whisper/whisper-tiny/config.json").read_text() == "mine"
    assert (models / "audio/tts/speaker").read_text() == "a file of mine"
    assert (models / "configs/download_list.json").read_text() == "mine too"
    assert (models / "other/btc-lstm/lstm.pt").read_bytes() == b"lstm"


def test_an_edited_file_stays_and_stops_its_model_only(filled: Store, hub: FakeHub, models: Path) -> None:
    filled.view_categories(models)
    edited = models / "audio/whisper/whisper-tiny/config.json"
    edited.write_text("edited")
    hub.add("openai/whisper-tiny", {**FILES, "config.json": b'{"new": 1}'})
    hub.add("org/speaker", {"voice.bin": b"louder"}, pipeline_tag="text-to-speech")
    filled.pull(["whisper-tiny", "org/speaker"], OPTIONS)
    assert filled.view_categories(models).kept == (str(edited),)
    assert edited.read_text() == "edited"
    assert (models / "audio/tts/speaker/voice.bin").read_bytes() == b"louder"


def test_a_checkout_of_ones_own_is_none_of_the_view(filled: Store, models: Path) -> None:
    filled.view_categories(models)
    with pytest.raises(InvalidInputError, match="belongs to a view"):
        filled.checkout("btc-lstm", models / "other/btc-lstm")
    (models / "other/btc-lstm/lstm.pt").write_bytes(b"tuned there")
    filled.checkpoint("btc-lstm", models / "other/btc-lstm")
    assert filled.view_categories(models).kept == (str(models / "other/btc-lstm"),)
    filled.remove_categories(models)
    assert paths_in(models) == {"other/btc-lstm/lstm.pt"}


def test_removing_takes_away_what_the_store_made_and_no_more(filled: Store, models: Path) -> None:
    filled.view_categories(models)
    (models / "audio/tts/speaker/notes.txt").write_text("mine")
    (models / "other/btc-lstm/lstm.pt").write_text("changed")
    result = filled.remove_categories(models)
    assert paths_in(models) == {"audio/tts/speaker/notes.txt", "other/btc-lstm/lstm.pt"}
    assert set(result.kept) == {str(models / path) for path in paths_in(models)}
    assert (result.models, result.views_bytes, result.exports) == ((), 0, {})
    with pytest.raises(NotFoundError, match="no view by category"):
        filled.remove_categories(models)


def test_removing_all_leaves_no_directory(filled: Store, models: Path) -> None:
    filled.view_categories(models)
    filled.remove_categories(models)
    assert not models.exists()
    assert filled.stats().views_bytes == 0


def test_a_removal_that_was_cut_short_is_ended(filled: Store, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.view_categories(models)
    with monkeypatch.context() as patch:
        patch.setattr("casmodels.views.sweeps.remove_models", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            filled.remove_categories(models)
    assert {path.split("/")[0] for path in paths_in(models)} == {"cache"}
    filled.remove_categories(models)
    assert not models.exists()


def test_links_go_with_what_they_led_to(store: Store, tmp_path: Path, models: Path) -> None:
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "deep" / "a.bin").write_bytes(b"a")
    (tmp_path / "run" / "latest").symlink_to("deep/a.bin")
    (tmp_path / "run" / "folder").symlink_to("deep")
    store.checkpoint("linked", tmp_path / "run")
    store.view_categories(models)
    assert (models / "other/linked/folder/a.bin").read_bytes() == b"a"
    (models / "other/linked/mine").symlink_to("nowhere")
    store.remove_categories(models)
    assert [path.name for path in models.rglob("*") if path.is_symlink()] == ["mine"]


def test_gc_drops_views_that_were_not_used_and_cleanup_what_was_left(filled: Store, models: Path) -> None:
    filled.view_categories(models)
    (models / "other/btc-lstm/.casmodels-1.tmp").write_bytes(b"left by a kill")
    assert filled.cleanup(dry_run=True).removed == 1
    assert filled.cleanup().removed == 1
    assert filled.gc(views_days=1).reclaimed_bytes == 0
    planned = filled.gc(views_days=0, dry_run=True).reclaimed_bytes
    assert planned >= 2 * len(WEIGHTS)
    filled.gc(views_days=0)
    assert paths_in(models) == {"cache/huggingface/hub/CACHEDIR.TAG"}


def test_a_folder_that_is_a_link_is_followed(filled: Store, models: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    models.mkdir()
    (models / "audio").symlink_to(tmp_path / "large disk")
    assert filled.view_categories(models).kept == ()
    assert (tmp_path / "large disk/whisper/whisper-tiny/model.safetensors").read_bytes() == WEIGHTS
    assert filled.view_categories(models).folders["openai/whisper-tiny"] == "audio/whisper/whisper-tiny"
    filled.remove_categories(models)
    assert paths_in(tmp_path / "large disk") == set()


def test_equal_short_names_get_their_organisations(store: Store, hub: FakeHub, models: Path) -> None:
    for organisation in ("a", "b"):
        hub.add(f"{organisation}/same", {"x.bin": organisation.encode()})
    store.pull(["a/same"], OPTIONS)
    assert store.view_categories(models).folders == {"a/same": "other/same"}
    store.pull(["b/same"], OPTIONS)
    assert store.view_categories(models).folders == {"a/same": "other/a.same", "b/same": "other/b.same"}
    assert (models / "other/b.same/x.bin").read_bytes() == b"b"
    assert not (models / "other/same").exists()


def test_every_type_has_a_folder() -> None:
    assert FOLDERS.keys() == set(ModelType)
    assert folder_of(None) == "other"


@pytest.mark.parametrize("target", ["store", "store/x", ".", "file"])
def test_a_directory_that_cannot_be_a_view(filled: Store, tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    before = paths_in(tmp_path)
    with pytest.raises(InvalidInputError):
        filled.view_categories(tmp_path / target)
    assert {path for path in paths_in(tmp_path) ^ before if not path.startswith("store/")} == set()


def test_somebodys_hub_cache_is_refused_before_anything_is_written(filled: Store, models: Path) -> None:
    (models / "cache/huggingface/hub/models--a--b").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="did not make"):
        filled.view_categories(models)
    assert [path.name for path in models.iterdir()] == ["cache"]


def test_a_wrong_configuration_there_stops_everything(filled: Store, models: Path) -> None:
    (models / "configs").mkdir(parents=True)
    (models / "configs/model_configs.json").write_text('{"models": {\n"x": {"devise": "cpu"}}}')
    with pytest.raises(ConfigurationError, match=r"model_configs\.json, line 2, models\.x: unknown field 'devise'"):
        filled.view_categories(models)
    assert [path.name for path in models.iterdir()] == ["configs"]


def test_too_little_space_is_said_before_anything_is_written(
    filled: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10, used=5, free=5))
    with pytest.raises(FullError, match=r"models needs 0\.1 MiB"):
        filled.view_categories(models)
    assert not models.exists()


@pytest.mark.parametrize("part", ["audio/whisper/whisper-tiny", "cache/huggingface", "configs"])
def test_a_disk_that_gets_full_leaves_nothing_half_and_the_next_run_ends_it(
    filled: Store, models: Path, part: str
) -> None:
    with hooked(Failing(errno.ENOSPC, "write", part)), pytest.raises(FullError, match="no space left"):
        filled.view_categories(models)
    assert [path for path in paths_in(models) if path.endswith(".tmp")] == []
    assert filled.view_categories(models).kept == ()
    assert len(plain_files(models)) == 6


def test_an_empty_store_gives_the_empty_tree(store: Store, tmp_path: Path, models: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"a")
    store.checkpoint("gone", tmp_path / "run")
    store.remove("gone")
    assert store.view_categories(models).folders == {}
    assert plain_files(models) == {"configs/download_list.json", "configs/model_configs.json"}
