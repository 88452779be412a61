"""Modules of sentence-transformers whose weights are in different formats, and pickles among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from tests.minilm import WEIGHTS
from tests.models.loaders.test_weights import archive

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
_SIZES = {"in_features": 384, "out_features": 8, "bias": True}
_DENSE = {**_SIZES, "activation_function": "torch.nn.modules.linear.Identity"}


def files(dense: bytes) -> dict[str, bytes]:
    """The real model with one more layer, whose weights are not in safetensors."""
    found = {path.relative_to(WEIGHTS).as_posix(): path.read_bytes() for path in WEIGHTS.rglob("*") if path.is_file()}
    modules = json.loads(found["modules.json"])[:2]
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    return {
        **found,
        "modules.json": json.dumps(modules).encode(),
        "2_Dense/config.json": json.dumps(_DENSE).encode(),
        "2_Dense/pytorch_model.bin": dense,
    }


def test_each_module_in_its_own_format(store: Store, saved: Saver) -> None:
    weight = torch.randn(8, 384, generator=torch.Generator().manual_seed(1))
    saved(files(archive({"linear.weight": weight, "linear.bias": torch.zeros(8)})))
    original = sentence_transformers.SentenceTransformer(str(WEIGHTS), device="cpu")
    first = sentence_transformers.SentenceTransformer(modules=list(original)[:2], device="cpu")
    pooled = torch.as_tensor(first.encode("two words"))
    with load_model(store, "mine", device="cpu") as model:
        assert model.loader == "sentence-transformers"
        assert torch.allclose(torch.as_tensor(model("two words")), pooled @ weight.T, atol=1e-5)


def test_a_pickle_among_them(store: Store, saved: Saver, tmp_path: Path) -> None:
    class Executed:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return (open, (str(tmp_path / "executed"),))

    saved(files(archive({"linear.weight": Executed()})))
    with pytest.raises(UnsafeModelError, match=r"2_Dense/pytorch_model\.bin in mine@\w{12} is a pickle that is more"):
        load_model(store, "mine", device="cpu")


@pytest.mark.parametrize("left", [set[str](), {"tokenizer_config.json"}])
def test_no_tokenizer(store: Store, saved: Saver, left: set[str]) -> None:
    """sentence-transformers makes one up, to which all texts of a length are the same."""
    gone = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"} - left
    found = {path.relative_to(WEIGHTS).as_posix(): path.read_bytes() for path in WEIGHTS.rglob("*") if path.is_file()}
    saved({path: data for path, data in found.items() if path not in gone})
    with pytest.raises(NotLoadableError, match=r"\Amine@\w{12} has no tokenizer\Z"):
        load_model(store, "mine", device="cpu")
    with (
        load_model(store, "mine", device="cpu", loader="transformers") as model,
        pytest.raises(NotLoadableError, match="the model has no tokenizer"),
    ):
        model.process_batch(["one", "two"])
