"""Paths may be strings, wherever a method of the store takes one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casmodels.library import PullOptions, Store
from casmodels.results import TakeInStatus

OPTIONS = PullOptions(low_priority=False)


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.bin").write_bytes(b"weights")
    return str(tmp_path / "mine")


def test_a_store_and_its_versions(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASMODELS_CONFIG", os.devnull)
    with Store(str(tmp_path / "store")) as store:
        assert store.directory == tmp_path / "store"
        store.checkpoint("mine", model)
        store.checkout("mine", str(tmp_path / "out"))
        assert (tmp_path / "out" / "weights.bin").read_bytes() == b"weights"
        assert store.repair([model]).lost == ()


def test_views(store: Store, model: str, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    hub_cache, shelves = str(tmp_path / "view"), str(tmp_path / "shelves")
    store.view(["mine"], hub_cache)
    assert list(store.show_view(hub_cache).models) == ["mine"]
    store.remove_view(path=hub_cache)
    assert not store.show_view(hub_cache).models
    store.view_categories(shelves)
    assert list(tmp_path.glob("shelves/**/weights.bin"))
    store.remove_categories(shelves)
    assert not list(tmp_path.glob("shelves/**/weights.bin"))


def test_lists_and_folders(store: Store, model: str, tmp_path: Path) -> None:
    listed = tmp_path / "download_list.json"
    listed.write_text(json.dumps({"models": []}))
    assert store.pull_list(str(listed), OPTIONS) == []
    assert [taken.status for taken in store.take_in(model, OPTIONS)] == [TakeInStatus.LEFT_OUT]


def test_signatures(store: Store, model: str, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public, signature = (str(tmp_path / name) for name in ("key", "key.pub", "mine.sig"))
    Path(private).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    Path(public).write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    store.checkpoint("mine", model)
    store.sign("mine", private, output=signature)
    assert Path(signature).exists()
    assert store.verify_signature("mine", public, signature).version == store.contents("mine").version
    store.write_signature("mine", str(tmp_path / "again.sig"))
    assert (tmp_path / "again.sig").exists()
