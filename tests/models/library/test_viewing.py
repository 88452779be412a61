from __future__ import annotations

import os
from pathlib import Path

import pytest

from casmodels.errors import UnknownModelError
from casmodels.library import PullOptions, Store
from casmodels.results import PullStatus
from casstore.errors import InvalidInputError
from tests.hub import FakeHub

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(50_000)}


@pytest.fixture
def pulled(store: Store, hub: FakeHub) -> str:
    commit = hub.add("org/name", FILES)
    store.pull(["org/name"], PullOptions(low_priority=False))
    return commit


def test_a_view_is_a_hub_cache_and_says_how_to_use_it(store: Store, pulled: str, tmp_path: Path) -> None:
    result = store.view(["org/name"])
    home = tmp_path / "store-view"
    assert result.hf_home == str(home)
    assert result.exports == {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    assert result.models == ("org/name",)
    repo = home / "hub" / "models--org--name"
    assert (repo / "refs" / "main").read_bytes() == pulled.encode()
    assert (repo / "snapshots" / pulled / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert store.stats().views_bytes >= 50_000


def test_the_token_moves_with_the_view(store: Store, pulled: str, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_secret")
    assert store.view(["org/name"]).exports["HF_TOKEN_PATH"] == str(tmp_path / "hf" / "token")


def test_a_pull_says_where_the_view_has_it(store: Store, pulled: str) -> None:
    assert store.pull(["org/name"], PullOptions(low_priority=False))[0].path is None
    path = store.path("org/name")
    again = store.pull(["org/name"], PullOptions(low_priority=False))[0]
    assert (again.status, again.path) == (PullStatus.CACHED, path)


def test_own_versions_go_into_views_too(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    store.checkpoint("whisper-v1", tmp_path / "model")
    assert (Path(store.path("whisper-v1")) / "config.json").read_text() == "{}"
    assert (tmp_path / "store-view" / "hub" / "models--whisper-v1").is_dir()


def test_removing_a_view_leaves_the_store_whole(store: Store, pulled: str, tmp_path: Path) -> None:
    store.view(["org/name"])
    assert store.remove_view(["org/name"]).models == ()
    assert not (tmp_path / "store-view").exists()
    assert store.verify(data=True).ok


def test_gc_drops_views_that_were_not_used(store: Store, pulled: str, tmp_path: Path) -> None:
    store.view(["org/name"])
    assert store.gc(views_days=1).reclaimed_bytes == 0
    assert store.gc(views_days=0).reclaimed_bytes >= 50_000
    assert store.show_view().models == ()


def test_another_ones_cache_is_refused(store: Store, pulled: str, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "hub" / "models--a--b").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="did not make"):
        store.view(["org/name"], tmp_path / "theirs")


def test_what_is_not_here_cannot_be_viewed(store: Store, pulled: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        store.view(["ada-002"])
    assert "pull ada-002" in (caught.value.remedy or "")
