"""What `list`, `info` and `aliases` show of a model: under which words it can be named, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casmodels.library import PullOptions, Store
from casmodels.results import ModelResult
from tests.hub import FakeHub

REPO = "sentence-transformers/all-MiniLM-L6-v2"
OPTIONS = PullOptions(low_priority=False)


@pytest.fixture
def upstream(hub: FakeHub) -> FakeHub:
    hub.add(REPO, {"config.json": b"{}", "model.safetensors": b"weights"})
    return hub


def pull_listed(store: Store, directory: Path, name: str) -> None:
    """Pull the repo under a name of a download list's own."""
    path = directory / "download_list.json"
    entry = {"name": name, "type": "text-embedding", "source": "huggingface", "repo": REPO}
    path.write_text(json.dumps({"models": [entry]}))
    (result,) = store.pull_list(path, OPTIONS)
    assert result.error is None


def shown(models: list[ModelResult]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(model.name, model.id, model.aliases) for model in models]


def test_aliases_and_id_are_shown_where_they_lead(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    pull_listed(store, tmp_path, "minisbert")
    known = (REPO, "embedding-ada-002", ("text-embedding-ada-002", "ada-002"))
    assert shown(store.list()) == [("minisbert", "minisbert", ())]
    assert [each.installed for each in store.list(available=True) if each.id == "embedding-ada-002"] == [False]
    assert shown(store.info("ada-002")) == [known]
    store.pull(["ada-002"], OPTIONS)
    assert shown(store.list()) == [("minisbert", "minisbert", ()), known]
    assert shown(store.info("minisbert")) == [("minisbert", "minisbert", ())]
    assert shown(store.info("ada-002")) == [known]
    ids = [each.id for each in store.list(available=True)]
    assert len(ids) == len(set(ids))


def test_what_is_known_of_the_repo_is_shown_under_any_name(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    pull_listed(store, tmp_path, "minisbert")
    (model,) = store.list()
    assert (model.repo, model.type, model.licence, model.parameters) == (REPO, "text-embedding", "apache-2.0", "23M")
    assert model.description


def test_an_alias_that_is_a_name_of_ones_own_is_no_alias(store: Store, hub: FakeHub, tmp_path: Path) -> None:
    spec = store.registry.get("clip")
    hub.add(spec.huggingface_id, {"config.json": b"{}", "model.safetensors": b"weights"})
    store.pull([spec.huggingface_id], OPTIONS)
    assert "clip" in store.info(spec.huggingface_id)[0].aliases
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"mine")
    store.checkpoint("clip", tmp_path / "run")
    assert "clip" not in store.info(spec.huggingface_id)[0].aliases
    assert shown(store.info("clip")) == [("clip", "clip", ())]
