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


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("modules.json", b'[\n {"idx": ,', r"^modules\.json in mine@\w{12} is no JSON: Expecting value: line 2"),
        ("modules.json", b"{}", r"^modules\.json in mine@\w{12} is no list of modules"),
        ("modules.json", b"[]", r"^modules\.json in mine@\w{12} is no list of modules"),
        ("1_Pooling/config.json", None, r"^mine@\w{12} has no 1_Pooling/config\.json, which its Pooling needs"),
        ("config.json", None, r"^mine@\w{12} has no config\.json, which its Transformer needs"),
        ("config.json", b"{}", r"cannot load model\.safetensors of mine@\w{12}: Unrecognized model in mine@\w{12}\. "),
        ("sentence_bert_config.json", b"{", r"^sentence_bert_config\.json in mine@\w{12} is no JSON: "),
        ("tokenizer_config.json", b"{", r"^tokenizer_config\.json in mine@\w{12} is no JSON: "),
    ],
)
def test_what_is_wrong_is_named(store: Store, saved: Saver, path: str, data: bytes | None, said: str) -> None:
    found = {each.relative_to(WEIGHTS).as_posix(): each.read_bytes() for each in WEIGHTS.rglob("*") if each.is_file()}
    changed = {**found, path: data}
    saved({name: content for name, content in changed.items() if content is not None})
    with pytest.raises(NotLoadableError, match=said) as raised:
        load_model(store, "mine", device="cpu")
    assert "casmodels-memory" not in raised.value.message


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
