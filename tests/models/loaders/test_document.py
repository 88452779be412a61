"""The examples of docs/loaders.md run, on real weights, as they stand there."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from casmodels.library import PullOptions, Store
from casmodels.loaders import load_model, registry
from tests.examples import examples_of
from tests.hub import FakeHub
from tests.minilm import WEIGHTS

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = examples_of("docs/loaders.md")


def test_the_examples(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    embedding, _, own_module, own_loader = EXAMPLES
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    monkeypatch.setenv("USE_GPU", "false")
    store.pull([str(WEIGHTS)], PullOptions(name="sentence-transformers/all-MiniLM-L6-v2"))
    names: dict[str, Any] = {}
    exec(embedding, names)
    assert capsys.readouterr().out == "cpu (3, 384)\n"
    definition = own_module.partition("with Store()")[0]
    exec(definition, names)
    weights = io.BytesIO()
    torch.save(names["Forecast"]().state_dict(), weights)
    (tmp_path / "forecast.pt").write_bytes(weights.getvalue())
    store.checkpoint("forecast", tmp_path / "forecast.pt")
    exec(own_module, names)
    assert capsys.readouterr().out == "torch.Size([20, 1])\n"
    exec(own_loader, names)
    (tmp_path / "lines.txt").write_text("zero\none\ntwo\n")
    store.checkpoint("lines", tmp_path / "lines.txt")
    monkeypatch.setattr(registry, "all_loaders", lambda: iter([names["LinesLoader"]()]))
    with load_model(store, "lines") as model:
        assert model.process_batch([2, 0], batch_size=1) == ["two", "zero"]


def test_the_example_of_the_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path.relative_to(WEIGHTS).as_posix(): path.read_bytes() for path in WEIGHTS.rglob("*") if path.is_file()}
    with FakeHub() as hub:
        hub.add("sentence-transformers/all-MiniLM-L6-v2", files)
        (tmp_path / "config.toml").touch()
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
        exec(EXAMPLES[1], {})
    assert capsys.readouterr().out == "('embedding-ada-002',) (1, 384)\n"


def test_every_loader_stands_in_the_document() -> None:
    text = (ROOT / "docs" / "loaders.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \| ", text, re.MULTILINE)) >= set(registry.BUILT_IN)
