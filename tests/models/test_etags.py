"""The names that files have in the Hub's world."""

from __future__ import annotations

import pytest

from casmodels.etags import LARGE_BYTES, hub_file
from casstore.digests import Digest, git_blob_digest, sha256_digest
from casstore.trees import Entry

CONTENT = b'{"model_type": "bert"}'
GIT = git_blob_digest(CONTENT)
SHA256 = sha256_digest(CONTENT)


def entry(path: str, size_bytes: int = len(CONTENT)) -> Entry:
    return Entry.file(path, SHA256, size_bytes)


def test_a_small_text_goes_by_its_git_id() -> None:
    file = hub_file(entry("config.json"), GIT)
    assert (file.etag, file.blob_id, file.is_large) == (GIT.hex, GIT.hex, False)


@pytest.mark.parametrize("path", ["model.safetensors", "a/b.GGUF", "pytorch_model.bin"])
def test_weights_go_by_their_sha256_whatever_their_size(path: str) -> None:
    assert hub_file(entry(path), GIT).etag == SHA256.hex


def test_size_makes_a_file_large() -> None:
    assert hub_file(entry("vocab.txt", LARGE_BYTES), GIT).is_large
    assert not hub_file(entry("vocab.txt", LARGE_BYTES - 1), GIT).is_large


def test_a_file_without_a_git_id_goes_by_its_sha256() -> None:
    assert hub_file(entry("config.json"), None).etag == SHA256.hex


def test_upstream_decides_for_its_own_bytes_only() -> None:
    large = {"config.json": {"size": 22, "blob_id": "ab" * 20, "lfs_sha256": SHA256.hex}}
    assert hub_file(entry("config.json"), GIT, large).etag == SHA256.hex
    assert hub_file(entry("config.json"), GIT, large).blob_id == "ab" * 20
    small = {"model.safetensors": {"size": 22, "blob_id": GIT.hex}}
    assert hub_file(entry("model.safetensors"), GIT, small).etag == GIT.hex
    other = {"config.json": {"size": 9, "blob_id": "ab" * 20, "lfs_sha256": "cd" * 32}}
    assert hub_file(entry("config.json"), GIT, other).etag == GIT.hex


def test_the_pointer_of_a_large_file_is_git_lfs_own() -> None:
    # The Hub's own answer for the file, from the documentation of `list_repo_tree` in huggingface_hub 2.4.0.
    sha256 = Digest.parse("sha256:9be78edb5b928eba33aa88f431551348f7466ba9f5ef3daf1d552398722a5436")
    file = hub_file(Entry.file("pytorch_model.bin", sha256, 548123560), None)
    assert file.blob_id == "64eaa9c526867e404b68f2c5d66fd78e27026523"
    assert file.pointer_size_bytes == 134
