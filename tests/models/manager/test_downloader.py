from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from casmodels import DownloadResult, ModelDownloader, ModelSpec, ModelType, Store
from casmodels.errors import ConfigurationError, RegistryError
from casstore.errors import InvalidInputError
from tests.hub import FakeHub, Fault
from tests.models.manager.leftovers import left_behind

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MPNET = "sentence-transformers/all-mpnet-base-v2"
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS, "1_Pooling/config.json": b"{}"}
SIZE = sum(map(len, FILES.values()))


def download(downloader: ModelDownloader, model: str = "ada-002", **options: object) -> DownloadResult:
    return asyncio.run(downloader.download_model(model, **options))  # type: ignore[arg-type]


def test_an_alias_is_downloaded_into_a_directory_that_loads(
    downloader: ModelDownloader, hub: FakeHub, cache: Path
) -> None:
    hub.add(MINILM, FILES)
    result = download(downloader)
    assert (result.model, result.status, result.error) == ("ada-002", "completed", None)
    assert result.path is not None
    assert Path(result.path).is_relative_to(cache / "store-view")
    assert {path: Path(result.path, path).read_bytes() for path in FILES} == FILES
    assert (result.size_bytes, result.downloaded_bytes) == (SIZE, SIZE)
    assert result.size_mb == pytest.approx(SIZE / 1e6)
    assert 0 < result.duration_seconds < 60


def test_the_second_time_it_is_cached_at_the_same_path(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    first = download(downloader)
    hub.forget()
    second = download(downloader, "embedding-ada-002")
    assert (second.status, second.path, second.size_bytes) == ("cached", first.path, SIZE)
    assert second.downloaded_bytes == 0
    assert len(hub.seen) == 1


def test_a_view_that_was_removed_is_made_again(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    first = download(downloader)
    assert first.path is not None
    Path(first.path, "model.safetensors").resolve().unlink()
    assert download(downloader).status == "cached"
    assert Path(first.path, "model.safetensors").read_bytes() == WEIGHTS


def test_several_come_in_their_order_and_a_failed_one_stops_none(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    hub.add(MPNET, FILES | {"config.json": b"{}"})
    models = ["ada-002", "nobody/has-this", "mpnet-base", "ada-002", "../etc/passwd"]
    results = asyncio.run(downloader.download_multiple_models(models))
    assert [result.model for result in results] == models
    assert [str(result.status) for result in results] == ["completed", "failed", "completed", "cached", "failed"]
    assert all((result.error is None) == (result.path is not None) for result in results)
    assert asyncio.run(downloader.download_multiple_models([])) == []


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("", "the model's name is empty"),
        ("ada-02", "did you mean"),
        ("org/missing", "org/missing"),
        ("org/na me", "org/na me"),
        ("ada-002@v9", "v9"),
        ("ftp://host/x", "use hf://, https://"),
        ("/no/such/directory", "does not exist; check the path"),
        ("a" * 3000, "a"),
        ("org/\0", "org/"),
    ],
)
def test_a_bad_name_fails_with_a_sentence(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, model: str, said: str
) -> None:
    before = set(threading.enumerate())
    hub.add(MINILM, FILES)
    result = download(downloader, model)
    assert (result.status, result.path) == ("failed", None)
    assert result.error is not None
    assert said in result.error
    assert "unexpected" not in result.error
    assert left_behind(cache, before) == []
    assert not downloader.is_model_downloaded(model)


@pytest.mark.parametrize("wrong", [None, 7, b"ada-002", ["ada-002"]])
def test_what_is_no_name_at_all_is_an_error_of_the_caller(downloader: ModelDownloader, wrong: object) -> None:
    with pytest.raises(TypeError, match="a model is named by a str"):
        download(downloader, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a model is named by a str"):
        downloader.is_model_downloaded(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="as a list"):
        asyncio.run(downloader.download_multiple_models("ada-002"))
    with pytest.raises(TypeError, match="a model is named by a str"):
        asyncio.run(downloader.download_multiple_models(["ada-002", wrong]))  # type: ignore[list-item]
    assert downloader.list_models() == []


def test_a_wrong_byte_fails_and_the_next_download_mends_it(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    hub.fault(f"{MINILM}/model.safetensors", Fault(flip=1000))
    result = download(downloader)
    assert result.status == "failed"
    assert "model.safetensors came wrong from" in (result.error or "")
    assert "do not trust that place" in (result.error or "")
    assert not downloader.is_model_downloaded("ada-002")
    hub.heal()
    assert download(downloader).status == "completed"


def test_too_little_space_fails_before_anything_is_fetched(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    hub.add(MINILM, FILES)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(total=10, used=5, free=5))
    results = asyncio.run(downloader.download_multiple_models(["ada-002", "ada-002"]))
    assert [str(result.status) for result in results] == ["failed", "failed"]
    assert "needs up to" in (results[0].error or "")
    assert "free some space" in (results[0].error or "")
    assert hub.downloads() == []
    assert left_behind(cache, before) == []


def test_too_little_space_for_the_view_fails_and_loses_nothing(
    downloader: ModelDownloader, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(MINILM, FILES)
    monkeypatch.setattr("casmodels.views.targets.shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=5)))
    result = download(downloader)
    assert (result.status, result.path) == ("failed", None)
    assert "store-view" in (result.error or "")
    assert downloader.is_model_downloaded("ada-002")
    monkeypatch.undo()


def test_offline_fails_or_is_cached_and_asks_nobody(
    downloader: ModelDownloader, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(MINILM, FILES)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with ModelDownloader(cache_dir=cache) as offline:
        result = download(offline)
        assert result.status == "failed"
        assert "is not here, and the network is not to be used; run without" in (result.error or "")
        assert not cache.exists()
        download(downloader)
        hub.forget()
        assert download(offline).status == "cached"
        assert hub.seen == []


def test_a_hub_that_is_not_there_fails(
    cache: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("casmodels.downloads.retries.Attempts._pause_seconds", lambda *_: 0.0)
    with ModelDownloader(cache_dir=cache) as downloader:
        assert "no connection to 127.0.0.1" in (download(downloader).error or "")


def test_what_is_here_is_known_without_asking(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    hub.add(MINILM, FILES)
    assert not downloader.is_model_downloaded("ada-002")
    assert downloader.list_models() == []
    assert not cache.exists()
    download(downloader)
    hub.forget()
    for name in ("ada-002", "ADA-002", "embedding-ada-002", MINILM):
        assert downloader.is_model_downloaded(name)
    assert not downloader.is_model_downloaded("mpnet-base")
    assert [model.id for model in downloader.list_models()] == ["embedding-ada-002"]
    assert hub.seen == []


def test_part_of_a_model_is_not_the_model(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    from casmodels import PullOptions

    hub.add(MINILM, FILES)
    with Store(cache / "store") as store:
        store.pull(["ada-002"], PullOptions(include=("config.json",), low_priority=False))
    assert not downloader.is_model_downloaded("ada-002")
    result = download(downloader)
    assert (result.status, result.downloaded_bytes) == ("completed", SIZE - len(FILES["config.json"]))
    assert downloader.is_model_downloaded("ada-002")


def test_a_model_of_ones_own_is_registered(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add("org/name", FILES)
    spec = ModelSpec("mine", "Mine", ModelType.TEXT_EMBEDDING, "org/name", aliases=("my-alias",))
    downloader.registry.register_model(spec)
    assert downloader.aliases["my-alias"] == "mine"
    assert download(downloader, "my-alias").status == "completed"
    assert downloader.is_model_downloaded("mine")
    with pytest.raises(RegistryError, match="ada-002"):
        downloader.registry.register_model(ModelSpec("ada-002", "x", ModelType.INSTRUCT, "org/x"))


def test_without_a_directory_it_is_the_configured_store(
    environment: dict[str, str], hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(MINILM, FILES)
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "mine"))
    with ModelDownloader() as downloader:
        path = download(downloader).path
    assert path is not None
    assert Path(path).is_relative_to(tmp_path / "mine-view")
    with Store() as store:
        assert store.has("ada-002")


def test_a_directory_that_is_a_file_fails_with_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with ModelDownloader(cache_dir=str(tmp_path / "file")) as downloader:
        result = download(downloader)
        assert result.status == "failed"
        assert "unexpected" not in (result.error or "")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_is_not_made_in_a_store(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    hub.add(MINILM, FILES)
    download(downloader)
    with pytest.raises(InvalidInputError, match="is a store itself"):
        ModelDownloader(cache_dir=cache / "store")


def test_wrong_settings_are_refused_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    for workers in (0, 65):
        with pytest.raises(InvalidInputError, match="workers must be from 1 to 64"):
            ModelDownloader(cache_dir=tmp_path, workers=workers)
    (tmp_path / "config.toml").write_text("workers = 'many'")
    with pytest.raises(ConfigurationError, match="workers"):
        ModelDownloader(cache_dir=tmp_path)


@pytest.mark.parametrize(("text", "given", "workers"), [("", None, 1), ("workers = 3", None, 3), ("workers = 3", 2, 2)])
def test_one_worker_unless_told_otherwise(
    environment: dict[str, str],
    tmp_path: Path,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    given: int | None,
    workers: int,
) -> None:
    from casmodels.downloads import Downloader

    (tmp_path / "config.toml").write_text(text)
    seen: list[object] = []
    begin = Downloader.__init__

    def noted(self: Downloader, directory: Path, **options: object) -> None:
        seen.append((options["workers"], options["initializer"] is not None))
        begin(self, directory, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Downloader, "__init__", noted)
    hub.add(MINILM, FILES)
    with ModelDownloader(cache_dir=tmp_path / "cache", workers=given) as downloader:
        assert download(downloader).error is None
    assert seen == [(workers, True)]


def test_the_event_loop_goes_on_while_a_hub_is_slow(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    hub.fault(f"{MINILM}/config.json", Fault(times=1, stall=(0, 0.7)))
    hub.fault(f"{MINILM}/model.safetensors", Fault(times=1, stall=(1000, 0.7)))
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - begun)

    async def main() -> DownloadResult:
        ticker = asyncio.create_task(tick())
        result = await downloader.download_model("ada-002")
        ticker.cancel()
        return result

    result = asyncio.run(main())
    assert result.status == "completed"
    assert result.duration_seconds > 1
    assert len(gaps) > 30
    assert max(gaps) < 0.8


def test_two_at_once_come_one_after_the_other(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    before = set(threading.enumerate())
    hub.add(MINILM, FILES)
    hub.add(MPNET, FILES)

    async def main() -> list[DownloadResult]:
        return await asyncio.gather(
            *(downloader.download_model(model) for model in ("ada-002", "mpnet-base", "ada-002"))
        )

    results = asyncio.run(main())
    assert [str(result.status) for result in results] == ["completed", "completed", "cached"]
    assert len([seen for seen in hub.downloads() if seen.path.endswith("model.safetensors")]) == 1
    assert left_behind(cache, before) == []


def test_one_downloader_serves_several_event_loops(downloader: ModelDownloader, hub: FakeHub) -> None:
    hub.add(MINILM, FILES)
    hub.fault(f"{MINILM}/model.safetensors", Fault(times=1, stall=(1000, 0.5)))
    results: list[DownloadResult] = []
    threads = [threading.Thread(target=lambda: results.append(download(downloader))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(result.status) for result in results) == ["cached", "cached", "completed"]


def test_closed_is_closed(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    before = set(threading.enumerate())
    hub.add(MINILM, FILES)
    hub.fault(f"{MINILM}/model.safetensors", Fault(stall=(1000, 60)))

    async def main() -> DownloadResult:
        task = asyncio.create_task(downloader.download_model("ada-002"))
        while not hub.downloads("model.safetensors"):
            await asyncio.sleep(0.01)
        downloader.close()
        return await task

    result = asyncio.run(main())
    assert (result.status, result.error) == ("failed", "the download was cancelled; ask for it again")
    assert left_behind(cache, before) == []
    with pytest.raises(InvalidInputError, match="the downloader is closed"):
        download(downloader)
    downloader.close()


def test_every_file_is_logged_with_its_fields(
    downloader: ModelDownloader, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(MINILM, FILES)
    with caplog.at_level(logging.INFO, "casmodels"):
        result = download(downloader)
    pulled = [record for record in caplog.records if record.name == "casmodels.pull"]
    assert sorted(vars(record)["path"] for record in pulled) == sorted(FILES)
    weights = next(vars(record) for record in pulled if vars(record)["path"] == "model.safetensors")
    assert (weights["status"], weights["size_bytes"], weights["error"]) == ("completed", len(WEIGHTS), None)
    assert weights["duration_seconds"] >= 0
    assert weights["message"].startswith("ada-002 completed model.safetensors 293.0 KiB in ")
    (whole,) = [record for record in caplog.records if record.name == "casmodels.manager.downloader"]
    assert (vars(whole)["status"], vars(whole)["path"]) == ("completed", result.path)
    texts = [record.getMessage() for record in caplog.records if record.name == "casmodels.runtime.priority"]
    assert "Process priority set to low" in texts


def test_a_failure_is_logged_as_an_error_and_no_secret_is(
    downloader: ModelDownloader, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "casmodels"):
        result = download(downloader, f"{hub.url}/model.pt?signature=hunter2")
    assert result.status == "failed"
    (whole,) = [record for record in caplog.records if record.name == "casmodels.manager.downloader"]
    assert (whole.levelname, vars(whole)["status"], vars(whole)["error"]) == ("ERROR", "failed", result.error)
    assert "hunter2" not in caplog.text
    assert all("hunter2" not in str(vars(record)) for record in caplog.records)


def test_a_fault_of_ours_is_a_failed_result_and_a_traceback_in_the_log(
    downloader: ModelDownloader, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("casmodels.library.pulling._dispatch", fail)
    assert download(downloader).error == "unexpected error: ZeroDivisionError: by nothing"
    assert "Traceback" in caplog.text


def test_cleanup_removes_what_a_kill_left(downloader: ModelDownloader, hub: FakeHub, cache: Path) -> None:
    assert downloader.cleanup().removed == 0
    hub.add(MINILM, FILES)
    download(downloader)
    (cache / "store/downloads/sha256-0.part").write_bytes(b"x" * 100)
    assert downloader.cleanup().reclaimed_bytes == 100
    assert list((cache / "store/downloads").iterdir()) == []
