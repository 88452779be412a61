"""A tree in the Hub's terms."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from casmodels.listings import Listing, read_listing
from casstore.digests import sha256_digest
from casstore.store import Store
from tests.models.serve.shelf import put

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "sub/deep/x.txt": b"x", "sub/y.txt": b"y"}


def listing(store: Store, files: dict[str, bytes], **more: object) -> Listing:
    version = put(store, "m", files, **more)  # type: ignore[arg-type]
    with store.reading() as reader:
        return read_listing(reader, version)


def test_files_and_the_folders_that_they_make(store: Store) -> None:
    found = listing(store, FILES, empty=("void",))
    assert list(found.files) == ["config.json", "model.safetensors", "sub/deep/x.txt", "sub/y.txt"]
    assert list(found.folders) == ["sub", "sub/deep", "void"]
    assert found.size_bytes == 11
    assert found.files["model.safetensors"].etag == sha256_digest(b"weights").hex


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_folders_have_the_ids_that_git_gives_them(store: Store, tmp_path: Path) -> None:
    files = {"a/b.txt": b"1", "a/b/c.txt": b"2", "a/b-c": b"3", "a/run.sh": b"4", "a/ä \n#": b"5"}
    found = listing(store, files, executable=("a/run.sh",))
    for path, content in files.items():
        (tmp_path / "git" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "git" / path).write_bytes(content)
    (tmp_path / "git" / "a/run.sh").chmod(0o755)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(tmp_path / "git"), *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("-c", "core.autocrlf=false", "-c", "core.fileMode=true", "add", "-A")
    tree = git("write-tree")
    assert found.folders == {"a": git("rev-parse", f"{tree}:a"), "a/b": git("rev-parse", f"{tree}:a/b")}
    assert found.files["a/b.txt"].blob_id == git("rev-parse", f"{tree}:a/b.txt")


def test_an_empty_folder_has_gits_id_of_the_empty_tree(store: Store) -> None:
    found = listing(store, {}, empty=("void",))
    assert found.folders == {"void": hashlib.sha1(b"tree 0\0").hexdigest()}


def test_a_link_to_a_file_is_that_file(store: Store) -> None:
    links = {"sub/up": "../config.json", "again": "sub/up", "deep/er/l": "../../sub/./y.txt"}
    found = listing(store, FILES, links=links)
    assert found.files["sub/up"].sha256 == sha256_digest(b"{}")
    assert found.files["again"].sha256 == sha256_digest(b"{}")
    assert found.files["deep/er/l"].sha256 == sha256_digest(b"y")
    assert found.files["deep/er/l"].path == "deep/er/l"


def test_a_link_to_a_folder_lists_what_is_in_it(store: Store) -> None:
    found = listing(store, FILES, links={"latest": "sub", "sub/again": "deep"})
    assert found.files["latest/y.txt"].sha256 == sha256_digest(b"y")
    assert found.files["latest/deep/x.txt"].sha256 == sha256_digest(b"x")
    assert found.files["sub/again/x.txt"].sha256 == sha256_digest(b"x")
    assert "latest" in found.folders
    assert "latest/again/x.txt" not in found.files


def test_links_to_nowhere_and_in_circles_are_left_out(store: Store) -> None:
    links = {"nowhere": "missing", "round": "round", "a": "b", "b": "a", "self/here": "..", "f": "config.json/x"}
    found = listing(store, FILES, links=links)
    assert not {"nowhere", "round", "a", "b", "f"} & {*found.files, *found.folders}
    assert found.files["self/here/config.json"].sha256 == sha256_digest(b"{}")
    assert "self/here/self/here/config.json" not in found.files


def test_links_to_folders_cannot_multiply_without_end(store: Store) -> None:
    files = {f"d/{number}": b"" for number in range(300)}
    links = {f"l{number:03}": "d" for number in range(300)}
    found = listing(store, files, links=links)
    assert 300 < len(found.files) <= 300 + 20_000


def test_a_path_of_a_thousand_folders_is_listed(store: Store) -> None:
    path = "/".join(["d"] * 1500) + "/f"
    found = listing(store, {path: b"x"})
    assert path in found.files
    assert len(found.folders) == 1500
