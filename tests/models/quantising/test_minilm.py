"""Real weights: how small all-MiniLM-L6-v2 becomes, and how like itself it stays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels import quantize_model
from casmodels.errors import NotQuantisableError
from casmodels.library import Store
from casmodels.loaders import load_model
from tests.minilm import WEIGHTS
from tests.models.quantising.sentences import SENTENCES

sentence_transformers = pytest.importorskip("sentence_transformers")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytestmark = pytest.mark.torch

FEW = SENTENCES[:5]
SOME = SENTENCES[:16]


@pytest.mark.parametrize(
    ("dtype", "activations", "most_mb", "mean", "smallest", "added_mb"),
    [
        ("int8", False, 58.8, 0.9995, 0.999, 11),
        ("int8", True, 58.8, 0.996, 0.99, 11),
        ("fp8", False, 58.8, 0.998, 0.996, 11),
        ("bf16", False, 45.5, 0.9999, 0.9999, 1),
        ("fp16", False, 45.5, 0.9999, 0.9999, 1),
    ],
)
def test_embeddings(
    shelf: Store, dtype: str, activations: bool, most_mb: float, mean: float, smallest: float, added_mb: float
) -> None:
    name = f"minilm-{dtype}-{activations}"
    with (
        load_model(shelf, "minilm", device="cpu") as model,
        quantize_model(model, dtype=dtype, activations=activations) as small,
    ):
        found = small.process_batch(FEW)
        result = small.save(name, sample=SOME)
        assert np.array_equal(small.save(name).quantised.weights_bytes, result.quantised.weights_bytes)
    first, again = shelf.versions(name)
    assert shelf.contents(f"{name}@{first.version}").files == shelf.contents(f"{name}@{again.version}").files
    quantised = result.quantised
    assert quantised.parent_weights_bytes == 90_868_376
    assert quantised.weights_bytes < most_mb * 1e6
    assert quantised.mean_similarity is not None
    assert quantised.smallest_similarity is not None
    assert quantised.mean_similarity >= mean
    assert quantised.smallest_similarity >= smallest
    assert result.stored_bytes < added_mb * 1e6  # what is not quantised is there already; casts cost little
    with load_model(shelf, name, device="cpu") as loaded:
        assert loaded.loader == "sentence-transformers"
        assert np.array_equal(loaded.process_batch(FEW), found)


def test_the_library_alone_opens_it(shelf: Store, tmp_path: Path) -> None:
    with load_model(shelf, "minilm", device="cpu") as model, quantize_model(model) as small:
        small.save("alone")
        found = small.process_batch(FEW)
    directory = shelf.checkout("alone", tmp_path / "alone").path
    opened = sentence_transformers.SentenceTransformer(directory, device="cpu", local_files_only=True)
    assert np.array_equal(opened.encode(FEW), found)


def test_in_a_process_of_its_own(shelf: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASMODELS_CONFIG", str(shelf.directory.parent / "config.toml"))
    with load_model(shelf, "minilm", device="cpu") as model, quantize_model(model) as small:
        small.save("isolated")
        found = small.process_batch(FEW)
    with load_model(shelf, "isolated", device="cpu", isolated=True) as model:
        assert np.array_equal(model.process_batch(FEW), found)


def test_the_library_own_object(shelf: Store) -> None:
    original = sentence_transformers.SentenceTransformer(str(WEIGHTS), device="cpu")
    before = original.encode(FEW)
    small = quantize_model(original)
    assert np.allclose(small.process_batch(FEW, batch_size=2), before, atol=0.02)
    assert np.array_equal(original.encode(FEW), before)


def test_weights_outside_of_the_transformer(shelf: Store, tmp_path: Path) -> None:
    model = sentence_transformers.SentenceTransformer(str(WEIGHTS), device="cpu")
    torch.manual_seed(0)
    model.append(sentence_transformers.models.Dense(384, 16))
    model.save_pretrained(str(tmp_path / "dense"))
    shelf.checkpoint("dense", tmp_path / "dense")
    with load_model(shelf, "dense", device="cpu") as loaded:
        with quantize_model(loaded) as small:
            found = small.process_batch(FEW)
            small.save("dense-small")
        with pytest.raises(NotQuantisableError, match="outside of its transformer"):
            quantize_model(loaded, "bf16")
    with load_model(shelf, "dense-small", device="cpu") as again:
        assert np.array_equal(again.process_batch(FEW), found)


def test_an_export_to_onnx(shelf: Store, tmp_path: Path) -> None:
    tokens = dict(
        transformers.AutoTokenizer.from_pretrained(str(WEIGHTS))(SENTENCES, padding=True, return_tensors="pt")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself and what it traces
        torch.onnx.export(
            _Embedding(transformers.AutoModel.from_pretrained(str(WEIGHTS)), list(tokens)).eval(),
            tuple(tokens.values()),
            tmp_path / "model.onnx",
            dynamo=False,
            input_names=list(tokens),
            output_names=["embedding"],
            dynamic_axes={**{name: {0: "batch", 1: "length"} for name in tokens}, "embedding": {0: "batch"}},
        )
    shelf.checkpoint("exported", tmp_path)
    with load_model(shelf, "exported", device="cpu") as model, quantize_model(model) as small:
        result = small.save("exported-int8", sample={name: value.numpy() for name, value in tokens.items()})
    assert result.quantised.weights_bytes < 23.5e6
    assert result.quantised.mean_similarity is not None
    assert result.quantised.mean_similarity >= 0.98


class _Embedding(torch.nn.Module):  # type: ignore[misc]
    """The mean of the hidden states of the tokens that are none of padding."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tokens: Any) -> Any:
        inputs = dict(zip(self.names, tokens, strict=True))
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        return (self.model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
