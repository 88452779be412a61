"""Signatures are kept with their version, and gone with it; what cannot be signed leaves nothing behind."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import BrokenLoaderError, NotSignedError, SigningKeyError, UnknownModelError
from casmodels.library import Store
from casstore.errors import DamagedError, FullError, InvalidInputError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.rows import State
from casstore.refs import Ref, RefKey, RefKind
from casstore.testing.faults import Failing, hooked
from tests.models.signatures.pems import Pair, write_pair


def refs(store: Store) -> list[Ref]:
    with store._context.engine().reading() as reader:
        return reader.refs()


def files_of(store: Store) -> set[str]:
    return {str(path) for path in store.directory.rglob("*") if "leases" not in path.parts and "-" not in path.suffix}


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def signed(store: Store, model: Path, key: Pair) -> str:
    """The id of a version of ``mine`` that is signed."""
    version = store.checkpoint("mine", model).version
    store.sign("mine", key.private)
    return version


def test_what_signing_gives(store: Store, model: Path, key: Pair) -> None:
    version = store.checkpoint("org/mine", model, tags=["v1"]).version
    result = store.sign("org/mine@v1", key.private)
    assert (result.name, result.version, result.files) == ("org/mine", version, 3)
    assert (result.unsigned, result.replaced, result.output) == ((".gitattributes",), None, None)
    assert result.key == sha256_of(key.public)
    checked = store.verify_signature("org/mine", key.public)
    assert (checked.name, checked.version, checked.source) == ("org/mine", version, "kept")
    assert (checked.key, checked.files, checked.unsigned) == (result.key, 3, (".gitattributes",))


def test_links_to_directories_are_said_to_be_unsigned(store: Store, tmp_path: Path, key: Pair) -> None:
    for version in "ab":
        (tmp_path / "linked" / version).mkdir(parents=True)
        (tmp_path / "linked" / version / "weights.bin").write_bytes(version.encode())
    for version in "ab":
        (tmp_path / "linked" / "current").unlink(missing_ok=True)
        (tmp_path / "linked" / "current").symlink_to(version)
        store.checkpoint("mine", tmp_path / "linked", tags=[version])
    signature = tmp_path / "model.sig"
    assert store.sign("mine@a", key.private, output=signature).unsigned == ("current",)
    assert store.verify_signature("mine@b", key.public, signature=signature).unsigned == ("current",)


def test_who_lists_versions_sees_it_and_no_version_of_its_own(store: Store, model: Path, signed: str) -> None:
    (model / "weights.bin").write_bytes(b"other")
    assert store.info("mine")[0].signature == "kept"
    store.checkpoint("mine", model)
    assert [(version.signature, version.pinned) for version in store.versions("mine")] == [
        (None, False),
        ("kept", False),
    ]
    assert store.info("mine")[0].signature is None
    assert store.info("mine")[0].versions == store.stats().versions == store.verify().versions == 2
    assert [entry.path for entry in store.ls(f"mine@{signed}")] == [
        *(".gitattributes", "empty.txt", "onnx/modèl 1.onnx", "weights.bin")
    ]
    (attached,) = [ref for ref in refs(store) if ref.key.attached_to is not None]
    with pytest.raises(NotFoundError, match="has no version"):
        store.contents(f"mine@{attached.target.hex[:12]}")


def test_signing_again_replaces_it(store: Store, key: Pair, other_key: Pair, signed: str) -> None:
    assert store.sign("mine", other_key.private).replaced == sha256_of(key.public)
    assert store.verify_signature("mine", other_key.public).source == "kept"
    assert store.sign("mine", key.private).replaced == sha256_of(other_key.public)
    assert len([ref for ref in refs(store) if ref.key.attached_to is not None]) == 1


@pytest.mark.parametrize(
    "upkeep",
    [
        lambda store: store.gc(),
        lambda store: store.compact(),
        lambda store: store.repair(),
        lambda store: (store.repair(), store.gc(), store.compact(), store.gc()),
    ],
    ids=["gc", "compact", "repair", "all"],
)
def test_upkeep_keeps_it(store: Store, key: Pair, signed: str, upkeep: Callable[[Store], object]) -> None:
    upkeep(store)
    assert store.verify_signature("mine", key.public).version == signed
    assert store.verify(data=True).ok


@pytest.mark.parametrize("lost", ["index.sqlite3", "journal"])
def test_a_store_without_its_journal_or_index_has_it_again(store: Store, key: Pair, signed: str, lost: str) -> None:
    store.close()
    for path in [*store.directory.glob("index.sqlite3*"), *store.directory.glob(lost)]:
        path.unlink(missing_ok=True)
    store.repair()
    assert store.verify_signature("mine", key.public).version == signed
    assert [version.version for version in store.versions()] == [signed]


@pytest.mark.parametrize("target", ["mine", "mine@{}"])
def test_it_goes_with_its_version(store: Store, model: Path, signed: str, target: str) -> None:
    kept = store.checkpoint("kept", model).version
    packs = {path.name for path in (store.directory / "packs").iterdir()}
    store.remove(target.format(signed))
    assert {ref.key for ref in refs(store)} == {RefKey(RefKind.VERSION, "kept", kept)}
    store.gc()
    assert len({path.name for path in (store.directory / "packs").iterdir()} & packs) < len(packs)


def test_of_one_version_only(store: Store, model: Path, key: Pair, signed: str) -> None:
    (model / "weights.bin").write_bytes(b"other")
    store.checkpoint("mine", model)
    store.sign("mine", key.private)
    store.remove("mine@~1")
    assert store.verify_signature("mine", key.public).source == "kept"
    assert len([ref for ref in refs(store) if ref.key.attached_to is not None]) == 1


def test_what_an_older_release_has_left_goes_with_the_next_removal(store: Store, model: Path, signed: str) -> None:
    """It takes the version away, and knows nothing of what is attached to it."""
    (model / "weights.bin").write_bytes(b"other")
    store.checkpoint("mine", model)
    with store._context.engine().writing() as transaction:
        transaction.set_ref(RefKey(RefKind.VERSION, "mine", signed), None)
        transaction.commit()
    store.remove("mine")
    assert refs(store) == []


def test_a_version_that_was_removed_comes_back_by_signing_it(store: Store, key: Pair, signed: str) -> None:
    store.remove("mine")
    store.sign(f"mine@{signed}", key.private)
    assert [version.signature for version in store.versions("mine")] == ["kept"]


def test_a_version_that_comes_back_by_a_tag_is_not_signed_any_more(store: Store, signed: str) -> None:
    store.remove("mine")
    store.tag(f"mine@{signed}", "back")
    assert [version.signature for version in store.versions("mine")] == [None]


def test_an_encrypted_key(store: Store, model: Path, tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "encrypted", password="sesame")
    store.checkpoint("mine", model)
    asked = []
    store.sign("mine", pair.private, "sesame")
    store.sign("mine", pair.private, lambda: asked.append("asked") or "sesame")  # type: ignore[func-returns-value]
    assert asked == ["asked"]
    assert store.verify_signature("mine", pair.public).source == "kept"


def bad_keys(tmp_path: Path) -> list[Path]:
    return [tmp_path / "none.pem", write_pair(tmp_path / "bad", password="sesame").private]


def test_a_key_that_cannot_be_used_leaves_nothing_behind(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    store.checkpoint("mine", model)
    before, there = refs(store), files_of(store)
    for private in (*bad_keys(tmp_path), key.public):
        with pytest.raises(SigningKeyError):
            store.sign("mine", private, "wrong", tmp_path / "out.sig")
    with pytest.raises(UnknownModelError):
        store.sign("other", key.private, None, tmp_path / "out.sig")
    assert refs(store) == before
    assert files_of(store) == there
    assert not (tmp_path / "out.sig").exists()


@pytest.mark.parametrize("what", ["dead link", "loop", "nothing", "only git's", "no UTF-8"])
def test_what_cannot_be_signed(store: Store, tmp_path: Path, key: Pair, what: str) -> None:
    directory = tmp_path / "odd"
    directory.mkdir()
    if what == "only git's":
        (directory / ".gitignore").write_text("x")
    elif what == "nothing":
        (directory / "empty").mkdir()
    elif what == "no UTF-8":
        (directory / os.fsdecode(b"\xff")).write_text("x")
    else:
        (directory / "a").write_text("x")
        (directory / "link").symlink_to("none" if what == "dead link" else "link")
    store.checkpoint("odd", directory)
    before = refs(store)
    said = {"no UTF-8": r"the path '\\udcff' is not UTF-8", "dead link": "its link 'link' leads nowhere"}
    said |= {"loop": said["dead link"], "nothing": "has no file that a signature", "only git's": "has no file that a"}
    with pytest.raises(InvalidInputError, match=said[what]) as raised:
        store.sign("odd", key.private)
    assert raised.value.remedy
    assert refs(store) == before


def test_where_a_signature_may_be_written(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    store.checkpoint("mine", model)
    (tmp_path / "weights.bin").write_bytes(b"precious")
    (tmp_path / "pipe").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "pipe")
    for name, error in (
        ("weights.bin", InvalidInputError),
        ("mine", InvalidInputError),
        ("pipe", InvalidInputError),
        ("none/out.sig", NotFoundError),
    ):
        with pytest.raises(error) as raised:
            store.sign("mine", key.private, output=tmp_path / name)
        assert raised.value.remedy
    assert (tmp_path / "weights.bin").read_bytes() == b"precious"
    assert store.versions("mine")[0].signature is None
    for _ in range(2):
        store.sign("mine", key.private, output=tmp_path / "out.sig")
    store.write_signature("mine", tmp_path / "again.sig")
    assert (tmp_path / "again.sig").read_bytes() == (tmp_path / "out.sig").read_bytes()
    (tmp_path / "link.sig").symlink_to("out.sig")
    store.sign("mine", key.private, output=tmp_path / "link.sig")
    assert (tmp_path / "link.sig").is_symlink()
    assert store.verify_signature("mine", key.public, tmp_path / "out.sig").files == 3


def frame_of(store: Store, kind: FrameKind, digest: bytes) -> None:
    """Mark a record as damaged."""
    ledger = store._context.engine().engine.ledger
    with ledger.locked():
        ledger.rows.set_state(kind, [digest], State.DAMAGED)


def test_a_damaged_version_is_neither_signed_nor_checked(store: Store, tmp_path: Path, key: Pair, signed: str) -> None:
    frame_of(store, FrameKind.VERSION, bytes.fromhex(signed))
    for ask in (
        lambda: store.sign(f"mine@{signed}", key.private, output=tmp_path / "out.sig"),
        lambda: store.verify_signature(f"mine@{signed}", key.public),
    ):
        with pytest.raises(DamagedError, match=r"the version mine@\w{12} is damaged: its record cannot be read"):
            ask()
    assert not (tmp_path / "out.sig").exists()


def test_a_damaged_signature_can_be_made_anew(store: Store, key: Pair, signed: str) -> None:
    (attached,) = [ref for ref in refs(store) if ref.key.attached_to is not None]
    frame_of(store, FrameKind.VERSION, attached.target.value)
    with pytest.raises(DamagedError, match=r"the signature of mine@\w{12} is damaged") as raised:
        store.verify_signature("mine", key.public)
    assert raised.value.remedy is not None
    assert raised.value.remedy.startswith(f"`casmodels sign mine@{signed[:12]} --key")
    checked = store.verify("mine")
    assert [(damage.model, damage.version) for damage in checked.damaged] == [("mine", signed)]
    assert not store.verify(f"mine@{signed}").ok
    assert store.sign("mine", key.private).replaced is None
    assert store.verify_signature("mine", key.public).source == "kept"
    assert store.verify("mine").ok


def test_a_signature_file_in_a_version_stays_the_user_s(store: Store, model: Path, key: Pair) -> None:
    (model / "model.sig").write_text("mine")
    version = store.checkpoint("mine", model).version
    assert store.sign("mine", key.private).unsigned == (".gitattributes", "model.sig")
    assert b"".join(store.cat(f"mine@{version}", "model.sig")) == b"mine"
    assert store.verify_signature("mine", key.public).source == "kept"


def test_there_is_nothing_to_write_where_nothing_is_signed(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    with pytest.raises(NotSignedError):
        store.write_signature("mine", tmp_path / "out.sig")


@pytest.mark.parametrize("module", ["cryptography", "model_signing", "OpenSSL"])
def test_without_the_extra(store: Store, model: Path, tmp_path: Path, key: Pair, module: str) -> None:
    store.checkpoint("mine", model)
    script = (
        f"import sys; sys.modules[{module!r}] = None; from casmodels.cli import main\n"
        f"sys.argv[1:] = ['--store', {str(store.directory)!r}, 'sign', 'mine', '--key', {str(key.private)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, text=True)
    said = "error: the extra 'signing' is not installed; run `pip install 'casmodels[signing]'`\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert store.versions("mine")[0].signature is None


def test_with_a_broken_package(store: Store, model: Path, key: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("cannot import name 'hashing'\nand more")

    version = store.checkpoint("mine", model).version
    monkeypatch.setattr("casmodels.extras.import_module", broken)
    said = r"is installed but cannot be imported: cannot import name 'hashing'\Z"
    with pytest.raises(BrokenLoaderError, match=said) as raised:
        store.sign(f"mine@{version}", key.private)
    assert raised.value.remedy == "mend the installation: `pip install --upgrade 'casmodels[signing]'`"
    assert store.versions("mine")[0].signature is None


def test_the_extra_is_loaded_by_who_signs_only(model: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from casmodels.library import Store\n"
        f"store = Store(Path({str(tmp_path / 'store')!r})); store.checkpoint('mine', Path({str(model)!r}))\n"
        "store.info(); store.versions(); store.verify(); store.remove('mine')\n"
        "print([name for name in sys.modules if name.startswith(('model_signing', 'cryptography', 'OpenSSL'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_a_full_disk_leaves_neither_file_nor_signature(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    store.checkpoint("mine", model)
    output = tmp_path / "full" / "out.sig"
    output.parent.mkdir()
    with (
        hooked(Failing(errno.ENOSPC, "write", str(output.parent))),
        pytest.raises(FullError, match=f"no space left while writing {output}"),
    ):
        store.sign("mine", key.private, output=output)
    assert list(output.parent.iterdir()) == []
    assert store.versions("mine")[0].signature is None
    store.sign("mine", key.private, output=output)
    assert store.verify_signature("mine", key.public, output).source == str(output)


def test_a_name_that_is_too_long_for_the_signature(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    store.checkpoint("mine", model)
    output = tmp_path / ("n" * 260)
    script = "import sys; from casmodels.cli import main; main()"
    arguments = ["--store", str(store.directory), "sign", "mine", "--key", str(key.private), "--output", str(output)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False, text=True)
    said = f"error: {output}: file name too long; choose a shorter name\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert store.versions("mine")[0].signature is None
