"""Families of transformers: what is saved opens as what it is, in casmodels and by transformers alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels import quantize_model
from casmodels.errors import NotQuantisableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.quantised_tensors import is_quantised
from tests.models.loaders import test_transformers as families

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]


@pytest.mark.parametrize("family", ["bert", "llama", "tied-llama", "bart", "whisper", "clip"])
@pytest.mark.parametrize("dtype", ["int8", "bf16"])
def test_a_family(store: Store, saved: Saver, tmp_path: Path, family: str, dtype: str) -> None:
    make, inputs, output = families.FAMILIES[family]
    original = families.made(make)
    files = families.files_of(original, tmp_path / "original", max_shard_size="20KB")
    saved({**files, "onnx/model.onnx": b"an export", "pytorch_model.bin": b"once more", "vocab.txt": b"words"})
    with load_model(store, "mine", device="cpu") as model, quantize_model(model, dtype) as small:
        found = small(**inputs)[output]
        result = small.save("small", sample=inputs)
    assert result.quantised.smallest_similarity is not None
    assert result.quantised.smallest_similarity > 0.99
    paths = {entry.path for entry in store.contents("small").files}
    assert paths >= {"config.json", "model.safetensors", "vocab.txt"}
    assert not [path for path in paths if path.endswith((".bin", ".onnx", "index.json", "of-00002.safetensors"))]
    with load_model(store, "small", device="cpu") as again:
        assert type(again.model) is type(original)
        assert torch.equal(again(**inputs)[output], found)
        with pytest.raises(NotQuantisableError, match="already"):
            quantize_model(again, dtype)
    alone = type(original).from_pretrained(store.checkout("small", tmp_path / "out").path).eval()
    with torch.inference_mode():
        assert torch.equal(alone(**_placed(alone, inputs))[output], found)
    assert any(is_quantised(each) for each in alone.parameters()) is (dtype == "int8")


def _placed(module: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to(module.dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def test_the_configuration_is_the_only_other_file_that_changes(store: Store, saved: Saver, tmp_path: Path) -> None:
    files = families.files_of(families.made(families.bert), tmp_path / "original")
    saved({**files, "vocab.txt": b"words"})
    with load_model(store, "mine", device="cpu") as model, quantize_model(model) as small:
        small.save("small")
    before, after = ({each.path: each.digest for each in store.contents(name).files} for name in ("mine", "small"))
    assert {path for path in before if before[path] != after[path]} == {"config.json", "model.safetensors"}
    config = json.loads(b"".join(store.cat("small", "config.json")))
    assert config.pop("quantization_config")["quant_method"] == "torchao"
    assert config == json.loads(files["config.json"])


def test_layers_that_are_not_linear_alone(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved(families.files_of(families.made(families.gpt), tmp_path / "original"))
    with (
        load_model(store, "mine", device="cpu") as model,
        pytest.raises(NotQuantisableError, match=r"mine@\w+ has no linear layer"),
    ):
        quantize_model(model)


def test_only_other_forms_of_this_model_go(store: Store, saved: Saver, tmp_path: Path) -> None:
    files = families.files_of(families.made(families.bert), tmp_path / "original")
    forms = ("onnx/model.onnx", "onnx/model.onnx_data", "pytorch_model.bin", "tf_model.h5", "model.fp16.safetensors")
    others = {
        "assistant/model.safetensors",
        "assistant/model.safetensors.index.json",
        "assistant/onnx/model.onnx",
        "adapter/adapter_model.safetensors",
        "adapter_model.safetensors",
        "reranker.onnx",
    }
    saved({**files, **{path: path.encode() for path in (*forms, *others)}})
    with load_model(store, "mine", device="cpu") as model, quantize_model(model) as small:
        small.save("small")
    assert {entry.path for entry in store.contents("small").files} == {*files, *others}
