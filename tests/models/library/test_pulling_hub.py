from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from casmodels.library import PullOptions, Store, pulling_hub
from casmodels.library.names import Found
from casmodels.results import PullResult, PullStatus
from casstore.catalog import Reader
from casstore.errors import FullError
from casstore.transactions import Transaction
from tests.hub import FakeHub, Fault
from tests.models.library.conftest import MakeStore

WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": os.urandom(200_000),
    "sub dir/naïve #%20.txt": b"hello",
}


def pull(store: Store, model: str = "org/name", **options: object) -> PullResult:
    (result,) = store.pull([model], PullOptions(low_priority=False, **options))  # type: ignore[arg-type]
    return result


def test_a_pull_brings_one_weight_format_and_says_what_it_left_out(store: Store, hub: FakeHub) -> None:
    commit = hub.add("org/name", FILES)
    result = pull(store)
    assert (result.status, result.error) == (PullStatus.COMPLETED, None)
    assert (result.name, result.repo, result.revision) == ("org/name", "org/name", commit)
    assert result.left_out.paths == ("pytorch_model.bin",)
    assert result.left_out.size_bytes == 200_000
    assert result.downloaded_bytes == result.size_bytes == sum(map(len, FILES.values())) - 200_000
    assert b"".join(store.cat("org/name", "model.safetensors")) == WEIGHTS
    assert b"".join(store.cat("org/name", "sub dir/naïve #%20.txt")) == b"hello"


def test_a_second_pull_costs_one_request_and_no_byte_of_a_file(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    first = pull(store)
    hub.forget()
    second = pull(store)
    assert (second.status, second.version) == (PullStatus.CACHED, first.version)
    assert len(hub.seen) == 1
    assert second.downloaded_bytes == 0


def test_the_engine_is_told_of_the_models_that_a_card_names(
    store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Transaction, "came_from", lambda _, version: told.append(version.hex))
    hub.add("org/base", FILES)
    base = pull(store, "org/base")
    hub.add("org/name", FILES, card={"base_model": ["org/base", "org/not-here"]})
    first = pull(store)
    hub.add("org/name", {**FILES, "config.json": b"{}"}, card={"base_model": "org/base"})
    pull(store)
    assert told == [base.version, first.version, base.version]


def test_an_alias_is_its_repo(store: Store, hub: FakeHub) -> None:
    hub.add("sentence-transformers/all-MiniLM-L6-v2", FILES)
    assert pull(store, "ada-002").name == "sentence-transformers/all-MiniLM-L6-v2"
    assert [version.name for version in store.versions("ada-002")] == ["sentence-transformers/all-MiniLM-L6-v2"]


def test_a_repo_without_an_organisation_is_asked_of_the_hub(store: Store, hub: FakeHub) -> None:
    hub.add("gpt2", FILES)
    assert pull(store, "gpt2").status is PullStatus.COMPLETED


def test_an_unknown_model_is_refused_with_the_nearest_names(store: Store, hub: FakeHub) -> None:
    result = pull(store, "ada-02")
    assert result.error is not None
    assert result.error.kind == "unknown-model"
    assert "ada-002" in (result.error.remedy or "")


def test_blobs_of_another_repo_are_not_downloaded_again(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    pull(store)
    hub.add("other/mirror", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    hub.forget()
    result = pull(store, "other/mirror")
    assert [seen.path.rpartition("/")[2] for seen in hub.downloads()] == ["config.json"]
    assert result.downloaded_bytes == 2


def test_a_new_commit_becomes_a_new_version_and_the_old_one_stays(store: Store, hub: FakeHub) -> None:
    first = hub.add("org/name", FILES)
    pull(store)
    second = hub.add("org/name", FILES | {"config.json": b"{}"})
    pull(store)
    assert [version.revision for version in store.versions("org/name")] == [second, first]
    assert b"".join(store.cat(f"org/name@{first[:8]}", "config.json")) == FILES["config.json"]


def test_a_later_pull_with_other_patterns_adds_to_the_first(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    pull(store, include=("config.json",))
    pull(store, include=("*.bin",))
    assert [entry.path for entry in store.ls("org/name")] == ["config.json", "pytorch_model.bin"]  # type: ignore[union-attr]
    assert pull(store, include=("config.json",)).status is PullStatus.CACHED


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(flip=1000), "wrong-bytes"),
        (Fault(longer=b"more"), "wrong-bytes"),
        (Fault(html=True), None),
        (Fault(status=404), "missing-upstream"),
    ],
)
def test_a_bad_file_fails_by_name_and_leaves_no_version(
    store: Store, hub: FakeHub, fault: Fault, kind: str | None
) -> None:
    hub.add("org/name", FILES)
    hub.fault("org/name/model.safetensors", fault)
    result = pull(store)
    assert result.status is PullStatus.FAILED
    assert result.error is not None
    assert "model.safetensors" in result.error.message
    assert kind is None or result.error.kind == kind
    assert store.versions() == []
    assert store.verify(data=True).ok
    hub.heal()
    hub.forget()
    assert pull(store).status is PullStatus.COMPLETED
    assert [seen.path.rpartition("/")[2] for seen in hub.downloads()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [({"gated": True}, "access"), ({"private": True}, "missing-upstream"), (None, "missing-upstream")],
)
def test_refusals(store: Store, hub: FakeHub, attributes: dict[str, bool] | None, kind: str) -> None:
    if attributes is not None:
        hub.add("org/name", FILES, **attributes)
    result = pull(store)
    assert result.error is not None
    assert result.error.kind == kind


def test_a_missing_revision(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    result = pull(store, revision="v9")
    assert result.error is not None
    assert "v9" in result.error.message


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//b"])
def test_a_path_that_leaves_the_tree_writes_nothing(store: Store, hub: FakeHub, path: str, tmp_path: Path) -> None:
    hub.add("org/name", {path: b"evil", "config.json": b"{}"})
    assert pull(store).status is PullStatus.FAILED
    assert store.versions() == []
    assert not (tmp_path / "x").exists()


def test_offline_uses_what_is_here_and_asks_nobody(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    missing = pull(store, offline=True)
    assert missing.error is not None
    assert missing.error.kind == "offline"
    pull(store)
    hub.forget()
    assert pull(store, offline=True).status is PullStatus.CACHED
    assert hub.seen == []


def test_a_dry_run_stores_and_fetches_nothing(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    result = pull(store, dry_run=True)
    assert result.downloaded_bytes == sum(map(len, FILES.values())) - 200_000
    assert hub.downloads() == []
    assert store.versions() == []


MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize("model", ["ada-002", MINILM, f"hf://{MINILM}"])
def test_offline_a_directory_under_the_name_of_a_repo_is_what_is_here(
    store: Store, hub: FakeHub, tmp_path: Path, model: str
) -> None:
    (tmp_path / "minilm").mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (tmp_path / "minilm" / name).write_bytes(FILES[name])
    saved = pull(store, str(tmp_path / "minilm"), name=MINILM)
    result = pull(store, model, offline=True)
    assert (result.status, result.error) == (PullStatus.CACHED, None)
    assert (result.name, result.version, result.files) == (MINILM, saved.version, 3)
    assert (result.repo, result.left_out.files) == (None, 0)
    other = pull(store, model, offline=True, revision="v1.0")
    assert other.error is not None
    assert hub.seen == []


def test_offline_versions_of_ones_own_are_here(store: Store, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"mine")
    saved = store.checkpoint("whisper-tiny", tmp_path / "run")
    result = pull(store, "whisper-tiny", offline=True)
    assert (result.status, result.version, result.repo) == (PullStatus.CACHED, saved.version, None)
    assert hub.seen == []


def test_offline_a_directory_is_enough_if_it_has_the_files_that_a_spec_names(
    store: Store, hub: FakeHub, tmp_path: Path
) -> None:
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "yolov8x.pt").write_bytes(b"another")
    pull(store, str(tmp_path / "yolo"), name="Ultralytics/YOLOv8")
    without = pull(store, "yolov8n", offline=True)
    assert without.error is not None
    assert without.error.kind == "offline"
    (tmp_path / "yolo" / "yolov8n.pt").write_bytes(b"nano")
    pull(store, str(tmp_path / "yolo"), name="Ultralytics/YOLOv8")
    assert pull(store, "yolov8n", offline=True).status is PullStatus.CACHED
    assert hub.seen == []


@pytest.mark.parametrize("options", [{"dry_run": True}, {"offline": True}])
def test_what_stores_nothing_makes_no_store(
    store: Store, hub: FakeHub, tmp_path: Path, options: dict[str, bool]
) -> None:
    hub.add("org/name", FILES)
    pull(store, **options)
    assert not (tmp_path / "store").exists()


def test_offline_a_directory_makes_the_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"mine")
    result = pull(store, str(tmp_path / "run"), offline=True)
    assert (result.status, result.error) == (PullStatus.COMPLETED, None)
    assert b"".join(store.cat("run", "model.pt")) == b"mine"


def test_a_bare_name_stays_on_main_when_an_old_revision_is_pulled(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", {"config.json": b"old"}, branch="v1")
    hub.add("org/name", {"config.json": b"new"})
    pull(store)
    pull(store, revision="v1")
    assert b"".join(store.cat("org/name", "config.json")) == b"new"
    assert b"".join(store.cat("org/name@v1", "config.json")) == b"old"
    assert b"".join(store.cat("org/name@~0", "config.json")) == b"new"


def test_force_fetches_again_and_makes_no_second_version(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    first = pull(store)
    hub.forget()
    again = pull(store, force=True)
    assert len(hub.downloads()) == 3
    assert again.version == first.version
    assert len(store.versions()) == 1


def test_too_little_space_is_said_before_anything_is_fetched(
    store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/name", FILES)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(total=10, used=5, free=5))
    with pytest.raises(FullError, match="org/name needs up to"):
        pull(store)
    assert hub.downloads() == []


def test_redownload_heals_a_damaged_chunk(store: Store, hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/name", FILES)
    pull(store)
    (pack,) = (tmp_path / "store" / "packs").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    damaged = store.verify(data=True).damaged
    assert [damage.path for damage in damaged] == ["model.safetensors"]
    store.redownload("org/name", PullOptions(low_priority=False))
    assert store.verify(data=True).ok
    assert b"".join(store.cat("org/name", "model.safetensors")) == WEIGHTS


def test_a_configured_endpoint_beats_a_mirror(make_store: MakeStore, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    with FakeHub() as mirror:
        mirror.add("org/name", FILES)
        beaten = make_store(HF_MIRROR=mirror.url, HF_ENDPOINT=hub.url)
        assert pull(beaten).vouched_by == "hub"
        assert mirror.seen == []


def test_two_failures_of_three_models(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    results = store.pull(["org/none", "org/name", "../x/y/z"], PullOptions(low_priority=False))
    assert [result.status for result in results] == [PullStatus.FAILED, PullStatus.COMPLETED, PullStatus.FAILED]


def test_two_pulls_at_once_make_one_version(
    make_store: MakeStore, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/name", {"config.json": b"{}"})
    stores = [make_store(HF_ENDPOINT=hub.url) for _ in range(2)]
    pull(stores[0], name="other")  # so that nobody waits for a download, and both are ready at once
    newest_of = pulling_hub._newest_of

    def slowly(reader: Reader, name: str, commit: str) -> Found | None:
        found = newest_of(reader, name, commit)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(pulling_hub, "_newest_of", slowly)
    with ThreadPoolExecutor(2) as pool:
        pulled = list(pool.map(pull, stores))
    assert [one.error for one in pulled] == [None, None]
    assert len(stores[0].versions("org/name")) == 1
    assert pulled[0].version == pulled[1].version
