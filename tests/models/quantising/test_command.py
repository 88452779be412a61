"""`casmodels quantize`: a version of its own, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels.cli import process
from casmodels.errors import MissingExtraError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.quantising import graphs
from tests.models.loaders.test_onnx import DATA, expected, linear

Saver = Callable[..., str]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in a store with an ONNX model, ``mine``; gives the exit code, and what it said."""
    monkeypatch.setenv("CASMODELS_CONFIG", str(store.directory.parent / "config.toml"))
    saved({"model.onnx": linear().SerializeToString(), "vocab.txt": b"words"})

    def one(*arguments: object) -> tuple[int, str, str]:
        code = process.run(["--store", str(store.directory), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return one


def test_from_the_command_to_the_outputs(run: Run, store: Store, tmp_path: Path) -> None:
    sample = tmp_path / "sample.json"
    sample.write_text(json.dumps({"x": DATA.tolist()}))
    code, out, err = run("--json", "quantize", "mine", "--sample", sample, "-m", "for phones")
    assert (code, err) == (0, "")
    result: dict[str, Any] = json.loads(out)
    assert result["name"] == "mine-int8"
    assert result["parent"] == store.contents("mine").target
    assert result["quantised"]["dtype"] == "int8"
    assert result["quantised"]["sample_items"] == len(DATA)
    assert result["quantised"]["smallest_similarity"] > 0.999
    with load_model(store, "mine-int8") as model:
        assert np.allclose(model(DATA), expected(DATA), atol=0.1)
    (version,) = json.loads(run("--json", "versions", "mine-int8")[1])
    assert version["version"] == result["version"]
    assert version["message"] == "for phones"
    assert version["quantised"]["mean_similarity"] == pytest.approx(result["quantised"]["mean_similarity"], abs=1e-6)
    info = json.loads(run("--json", "info", "mine-int8")[1])
    assert info["quantised"] == version["quantised"]
    assert info["base_models"] == ["mine"]


def test_what_people_are_told(run: Run, store: Store, tmp_path: Path) -> None:
    code, out, err = run("quantize", "mine", "--dtype", "fp16", "--name", "half")
    assert code == 0
    parent = store.contents("mine").version[:12]
    assert f": fp16 of mine@{parent} (onnxruntime.float16), weights of 12" in out
    assert "; stored " in out
    assert err == "it was not compared with the model that it was made from; --sample FILE does that\n"
    assert "quantised:       fp16 of mine@" in run("info", "half")[1]
    assert f"fp16 of mine@{parent}" in run("versions", "half")[1]
    sample = tmp_path / "sample.json"
    sample.write_text(json.dumps(DATA.tolist()))
    code, out, err = run("quantize", "mine", "--dtype", "fp16", "--name", "half", "--sample", sample)
    assert err == ""
    assert "similarity 1.0000 (smallest 1.0000) and " in out
    assert out.count("of its time on a sample of 10") == 1
    assert out.endswith("; nothing has changed since the version before\n")


def test_a_sample_of_numbers(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "sample.npy", DATA)
    code, out, _ = run("quantize", "mine", "--dtype", "fp16", "--sample", tmp_path / "sample.npy")
    assert (code, "of its time on a sample of 10" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("mine", "--dtype", "int3"), 2, "there is no type 'int3'"),
        (("mine", "--dtype", "int4"), 2, "cannot be quantised to int4 here"),
        (("mine", "--dtype", "fp8"), 2, "onnxruntime cannot quantise a model to fp8"),
        (("none",), 3, "no model is called 'none'"),
        (("mine", "--name", "ada-002"), 2, "the name 'ada-002' is taken"),
        (("mine", "--sample", "missing.txt"), 3, "missing.txt does not exist"),
        (("mine", "--sample", "empty.txt"), 2, "empty.txt is empty"),
        (("mine", "--sample", "broken.json"), 2, "broken.json is no JSON"),
        (("mine", "--sample", "number.json"), 2, "number.json holds no items"),
        (("mine", "--sample", "bytes.txt"), 2, "bytes.txt is no text in UTF-8"),
        (("mine", "--sample", "text.txt"), 2, "cannot take the sample"),
        (("mine", "--device", "cuda"), 2, "no device 'cuda' here"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    run: Run,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    files = {"empty.txt": b"\n \n", "broken.json": b"{", "number.json": b"5", "bytes.txt": b"\xff", "text.txt": b"a"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    ended, out, err = run("quantize", *arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert [model.name for model in store.list()] == ["mine"]


def test_a_missing_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, extra: str) -> object:
        raise MissingExtraError(extra)

    monkeypatch.setattr(graphs, "library", missing)
    code, _, err = run("quantize", "mine")
    assert code == 2
    assert "pip install 'casmodels[quantise-onnx]'" in err


def test_type_and_licence_stay_that_only_the_registry_knows(run: Run, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "minilm"
    source.mkdir()
    (source / "model.onnx").write_bytes(linear().SerializeToString())
    assert run("pull", source, "--name", "sentence-transformers/all-MiniLM-L6-v2")[0] == 0
    parent = json.loads(run("--json", "info", "ada-002")[1])
    assert (parent["type"], parent["licence"]) == ("text-embedding", "apache-2.0")
    assert run("quantize", "ada-002")[0] == 0
    (made,) = [model for model in store.info() if model.quantised is not None]
    assert (made.type, made.licence) == (parent["type"], parent["licence"])


def test_ctrl_c(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("casmodels.quantising.stored.load_model", interrupted)
    assert run("quantize", "mine") == (130, "", "interrupted; the next run begins anew\n")
    assert [model.name for model in store.list()] == ["mine"]
