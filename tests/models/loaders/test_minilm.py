"""Real weights: the embeddings of all-MiniLM-L6-v2 out of the store are those of the original directory."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels.library import Store
from casmodels.loaders import load_model
from tests.minilm import WEIGHTS

sentence_transformers = pytest.importorskip("sentence_transformers")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TEXTS = ["That is a happy person", "That is a very happy person", "Heute ist ein sonniger Tag", "", "two words"]


def test_embeddings(shelf: Store) -> None:
    original = sentence_transformers.SentenceTransformer(str(WEIGHTS), device="cpu")
    with load_model(shelf, "minilm", device="cpu") as model:
        assert model.loader == "sentence-transformers"
        assert np.array_equal(model(TEXTS), original.encode(TEXTS))
        assert np.array_equal(model(TEXTS[0]), original.encode(TEXTS[0]))
        found = model.process_batch(TEXTS, batch_size=2)
        assert found.shape == (5, 384)
        assert np.allclose(found, original.encode(TEXTS), atol=1e-6)


def test_embeddings_from_a_process_of_its_own(shelf: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASMODELS_CONFIG", str(shelf.directory.parent / "config.toml"))
    expected = load_model(shelf, "minilm", device="cpu")(TEXTS)
    with load_model(shelf, "minilm", device="cpu", isolated=True) as model:
        assert np.array_equal(model(TEXTS), expected)
        assert np.allclose(model.process_batch(TEXTS, batch_size=2), expected, atol=1e-6)


def test_hidden_states(shelf: Store) -> None:
    original = transformers.AutoModel.from_pretrained(str(WEIGHTS))
    tokens = transformers.AutoTokenizer.from_pretrained(str(WEIGHTS))(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = original(**tokens).last_hidden_state
    with load_model(shelf, "minilm", loader="transformers", device="cpu") as model:
        assert type(model.model) is type(original)
        assert torch.equal(model(TEXTS).last_hidden_state, expected)
        assert torch.equal(model(**tokens).last_hidden_state, expected)
        batched = model.process_batch(TEXTS, batch_size=2)["last_hidden_state"]
        mask = tokens["attention_mask"].bool()
        assert torch.allclose(batched[mask], expected[mask], atol=1e-5)


def test_an_export_to_onnx(shelf: Store, tmp_path: Path) -> None:
    original = transformers.AutoModel.from_pretrained(str(WEIGHTS)).eval()
    tokens = dict(transformers.AutoTokenizer.from_pretrained(str(WEIGHTS))(TEXTS, padding=True, return_tensors="pt"))
    names = list(tokens)
    with torch.inference_mode():
        expected = original(**tokens).last_hidden_state.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself and what it traces
        torch.onnx.export(
            _States(original, names).eval(),
            tuple(tokens.values()),
            tmp_path / "model.onnx",
            dynamo=False,
            input_names=names,
            output_names=["states"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in [*names, "states"]},
        )
    shelf.checkpoint("exported", tmp_path)
    with load_model(shelf, "exported") as model:
        assert model.loader == "onnx"
        found = model.process_batch({name: value.numpy() for name, value in tokens.items()}, batch_size=2)
        assert np.allclose(found, expected, atol=1e-4)


class _States(torch.nn.Module):  # type: ignore[misc]
    """A model of transformers that gives a tensor and nothing else."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tokens: Any) -> Any:
        return self.model(**dict(zip(self.names, tokens, strict=True))).last_hidden_state


@pytest.mark.parametrize("loader", ["sentence-transformers", "transformers"])
def test_nothing_is_left_on_the_disk(
    shelf: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loader: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with load_model(shelf, "minilm", loader=loader):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loader", ["sentence-transformers", "transformers"])
def test_sentences_to_try_it_with_and_what_it_counts(shelf: Store, loader: str) -> None:
    with load_model(shelf, "minilm", loader=loader, device="cpu") as model:
        batch = model.example(10)
        assert len(batch) == 10
        assert all(isinstance(text, str) for text in batch)
        model.process_batch(batch)
        assert (model.metrics.calls, model.metrics.items) == (1, 10)
