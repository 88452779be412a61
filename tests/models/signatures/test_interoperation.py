"""Signatures are those of OpenSSF model signing, both ways, by its package itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying

from casmodels.errors import SignatureError
from casmodels.library import Store
from tests.models.signatures.pems import CURVES, Pair, write_pair

UNSIGNED = (".gitattributes",)


def program(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The package's own command line."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def sign_directory(directory: Path, key: Pair, signature: Path, config: hashing.Config | None = None) -> None:
    signing.Config().set_hashing_config(config or hashing.Config()).use_elliptic_key_signer(
        private_key=key.private
    ).sign(directory, signature)


def verify_directory(directory: Path, key: Pair, signature: Path) -> None:
    verifying.Config().use_elliptic_key_verifier(public_key=key.public).verify(directory, signature)


@pytest.mark.parametrize("curve", CURVES)
def test_a_checkout_of_a_signed_version_passes_there(store: Store, model: Path, tmp_path: Path, curve: str) -> None:
    key = write_pair(tmp_path, ec.generate_private_key(CURVES[curve]))
    store.checkpoint("mine", model)
    result = store.sign("mine", key.private, output=tmp_path / "out.sig")
    assert (result.files, result.unsigned, result.output) == (3, UNSIGNED, str(tmp_path / "out.sig"))
    out = tmp_path / "out"
    store.checkout("mine", out)
    verify_directory(out, key, tmp_path / "out.sig")
    (out / "weights.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"weights\.bin"):
        verify_directory(out, key, tmp_path / "out.sig")


@pytest.mark.parametrize("place", ["out/model.sig", "elsewhere.sig"])
def test_a_checkout_passes_there_on_the_command_line(
    store: Store, model: Path, tmp_path: Path, key: Pair, place: str
) -> None:
    store.checkpoint("mine", model)
    store.sign("mine", key.private)
    store.checkout("mine", tmp_path / "out")
    store.write_signature("mine", tmp_path / place)
    ran = program("verify", "key", "out", "--signature", place, "--public_key", key.public, cwd=tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "Verification succeeded"), ran.stderr
    (tmp_path / "out" / "more.bin").write_bytes(b"more")
    assert (
        program("verify", "key", "out", "--signature", place, "--public_key", key.public, cwd=tmp_path).returncode == 1
    )


def test_links_and_empty_directories_pass_there_where_links_may_be(
    store: Store, model: Path, tmp_path: Path, key: Pair
) -> None:
    (model / "nothing").mkdir()
    (model / "same.bin").symlink_to("weights.bin")
    (model / "same").symlink_to("onnx")
    (model / "run.sh").write_text("#!/bin/sh\n")
    (model / "run.sh").chmod(0o755)
    store.checkpoint("mine", model)
    assert store.sign("mine", key.private, output=tmp_path / "out.sig").files == 5
    store.checkout("mine", tmp_path / "out")
    arguments = ("verify", "key", "out", "--signature", "out.sig", "--public_key", key.public)
    assert "is a symlink" in program(*arguments, cwd=tmp_path).stderr
    assert program(*arguments, "--allow_symlinks", cwd=tmp_path).returncode == 0
    assert store.verify_signature("mine", key.public).files == 5


def test_a_single_file_passes_there(store: Store, tmp_path: Path, key: Pair) -> None:
    """It is checked out into a directory, and so it is signed as one."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    store.checkpoint("mine", tmp_path / "model.gguf")
    store.sign("mine", key.private, output=tmp_path / "out.sig")
    store.checkout("mine", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.gguf"]
    verify_directory(tmp_path / "out", key, tmp_path / "out.sig")


@pytest.mark.parametrize("inside", [True, False])
def test_a_directory_that_was_signed_there_on_the_command_line(
    store: Store, model: Path, tmp_path: Path, key: Pair, inside: bool
) -> None:
    place = model / "model.sig" if inside else tmp_path / "out.sig"
    ran = program("sign", "key", model, "--signature", place, "--private_key", key.private, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    store.checkpoint("mine", model)
    result = store.verify_signature("mine", key.public, None if inside else place)
    assert (result.source, result.files) == ("model.sig" if inside else str(place), 3)
    assert result.unsigned == ((*UNSIGNED, "model.sig") if inside else UNSIGNED)
    assert store.versions("mine")[0].signature == store.info("mine")[0].signature == ("model.sig" if inside else None)


def test_a_signature_that_says_nothing_of_its_own_file(store: Store, model: Path, key: Pair) -> None:
    """As the package's Python interface makes it beside the files; there it would fail for itself."""
    sign_directory(model, key, model / "model.sig")
    with pytest.raises(ValueError, match=r"Extra files.*model\.sig"):
        verify_directory(model, key, model / "model.sig")
    store.checkpoint("mine", model)
    assert store.verify_signature("mine", key.public).source == "model.sig"


@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_the_algorithms(store: Store, model: Path, tmp_path: Path, key: Pair, algorithm: str) -> None:
    config = hashing.Config().use_file_serialization(hashing_algorithm=algorithm)
    sign_directory(model, key, tmp_path / "out.sig", config)
    verify_directory(model, key, tmp_path / "out.sig")
    store.checkpoint("mine", model)
    assert store.verify_signature("mine", key.public, tmp_path / "out.sig").files == 3
    (model / "weights.bin").write_bytes(b"weights" * 999 + b"weightz")
    store.checkpoint("mine", model)
    with pytest.raises(SignatureError, match=r"'weights\.bin' differs"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


@pytest.mark.parametrize("config", ["blake2", "shards"])
def test_what_the_package_signs_and_cannot_verify_either(
    store: Store, model: Path, tmp_path: Path, key: Pair, config: str
) -> None:
    configs = {
        "blake2": hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
        "shards": hashing.Config().use_shard_serialization(shard_size=1000),
    }
    sign_directory(model, key, tmp_path / "out.sig", configs[config])
    with pytest.raises((ValueError, TypeError)):
        verify_directory(model, key, tmp_path / "out.sig")
    store.checkpoint("mine", model)
    over = "files with blake2b" if config == "blake2" else "shards with sha256"
    with pytest.raises(SignatureError, match=f"is over {over}, and only files with sha256 or blake3 can be checked"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


def test_git_s_files_where_the_signer_wanted_them(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    sign_directory(
        model, key, tmp_path / "out.sig", hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False)
    )
    store.checkpoint("mine", model)
    result = store.verify_signature("mine", key.public, tmp_path / "out.sig")
    assert (result.files, result.unsigned) == (4, ())
    (model / ".gitattributes").write_text("other")
    store.checkpoint("mine", model)
    with pytest.raises(SignatureError, match=r"'\.gitattributes' differs"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


def test_paths_that_the_signer_left_out(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    sign_directory(model, key, tmp_path / "out.sig", hashing.Config().set_ignored_paths(paths=["onnx"]))
    (model / "onnx" / "more.onnx").write_bytes(b"more")
    verify_directory(model, key, tmp_path / "out.sig")
    store.checkpoint("mine", model)
    result = store.verify_signature("mine", key.public, tmp_path / "out.sig")
    assert (result.files, result.unsigned) == (2, (*UNSIGNED, "onnx/modèl 1.onnx", "onnx/more.onnx"))


def test_a_file_that_was_signed_by_itself(store: Store, tmp_path: Path, key: Pair) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    sign_directory(file, key, tmp_path / "out.sig")
    store.checkpoint("mine", file)
    result = store.verify_signature("mine", key.public, tmp_path / "out.sig")
    assert (result.files, result.unsigned) == (1, ())
    file.write_bytes(b"GGUV")
    store.checkpoint("mine", file)
    with pytest.raises(SignatureError, match=r"'\.' differs"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


def test_a_file_that_was_signed_by_itself_is_no_directory(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    sign_directory(model / "weights.bin", key, tmp_path / "out.sig")
    store.checkpoint("mine", model)
    with pytest.raises(SignatureError, match=r"'\.' is missing, 'empty\.txt' \(and 2 more\) was not signed"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


def test_links_where_the_signer_allowed_none(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    (model / "same.bin").write_bytes((model / "weights.bin").read_bytes())
    sign_directory(model, key, tmp_path / "out.sig")
    (model / "same.bin").unlink()
    (model / "same.bin").symlink_to("weights.bin")
    with pytest.raises(ValueError, match="symlink"):
        verify_directory(model, key, tmp_path / "out.sig")
    store.checkpoint("mine", model)
    with pytest.raises(SignatureError, match="is of a model without links, and the version has some"):
        store.verify_signature("mine", key.public, tmp_path / "out.sig")


def test_a_signature_of_an_older_release_that_does_not_name_its_key(
    store: Store, model: Path, key: Pair, capfd: pytest.CaptureFixture[str]
) -> None:
    """The package prints a warning of its own for it, which would spoil a JSON document."""
    sign_directory(model, key, model / "model.sig")
    text = (model / "model.sig").read_text()
    at = text.index('"hint"')
    (model / "model.sig").write_text(text[:at] + text[text.index("}", at) :])
    store.checkpoint("mine", model)
    assert store.verify_signature("mine", key.public).source == "model.sig"
    assert capfd.readouterr() == ("", "")


def test_what_is_saved_again_from_a_signed_checkout(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    """As publishers do: sign, put the signature beside the files, publish; whoever pulls that can check it."""
    store.checkpoint("mine", model)
    store.sign("mine", key.private)
    store.checkout("mine", tmp_path / "out")
    store.write_signature("mine", tmp_path / "out" / "model.sig")
    shutil.copytree(tmp_path / "out", tmp_path / "published")
    os.utime(tmp_path / "published" / "weights.bin")
    store.checkpoint("pulled", tmp_path / "published")
    assert store.verify_signature("pulled", key.public).source == "model.sig"
