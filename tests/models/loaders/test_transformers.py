"""Families of transformers, tiny and made from a configuration: from the store they compute what they did before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.builtin import transformers as loader
from casmodels.loaders.builtin import weights
from tests.models.loaders.test_weights import archive

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60}
SEQUENCE = {"d_model": 32, "vocab_size": 60, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip
TOKENS = {"input_ids": torch.randint(3, 60, (5, 9), generator=torch.Generator().manual_seed(1))}
PIXELS = {**TOKENS, "pixel_values": torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))}
SOUND = {
    "input_features": torch.randn(5, 8, 20, generator=torch.Generator().manual_seed(3)),
    "decoder_input_ids": TOKENS["input_ids"],
}


def bert() -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(**SMALL))


def llama(**options: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=2, **options))


def tied_llama() -> Any:
    return llama(tie_word_embeddings=True)


def gpt() -> Any:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=60))


def bart() -> Any:
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**SEQUENCE, pad_token_id=1))


def whisper() -> Any:
    special = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2}
    sizes = {"num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 12}
    return transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**SEQUENCE, **special, **sizes))


def clip() -> Any:
    text = transformers.CLIPTextConfig(**SMALL, max_position_embeddings=16, eos_token_id=2)
    vision = transformers.CLIPVisionConfig(**{**SMALL, "image_size": 16, "patch_size": 8})
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))


FAMILIES = {
    "bert": (bert, TOKENS, "logits"),
    "llama": (llama, TOKENS, "logits"),
    "tied-llama": (tied_llama, TOKENS, "logits"),
    "gpt": (gpt, TOKENS, "logits"),
    "bart": (bart, TOKENS, "logits"),
    "whisper": (whisper, SOUND, "logits"),
    "clip": (clip, PIXELS, "image_embeds"),
}


def files_of(model: Any, directory: Path, **options: Any) -> dict[str, bytes]:
    model.save_pretrained(directory, **options)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def made(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["safetensors", "shards", "bin"])
def test_a_family(store: Store, saved: Saver, tmp_path: Path, family: str, form: str) -> None:
    make, inputs, output = FAMILIES[family]
    original = made(make)
    files = files_of(original, tmp_path / "original", max_shard_size="20KB" if form == "shards" else "1GB")
    if form == "bin":
        del files["model.safetensors"]
        files["pytorch_model.bin"] = archive(original.state_dict())
    assert ("model.safetensors.index.json" in files) is (form == "shards")
    saved(files)
    with torch.inference_mode():
        expected = original(**inputs)[output]
    with load_model(store, "mine", device="cpu") as model:
        assert model.loader == "transformers"
        assert type(model.model) is type(original)
        assert torch.equal(model(**inputs)[output], expected)
        batched = model.process_batch(inputs, batch_size=2)
        assert torch.allclose(batched[output], expected, atol=1e-5)
        state = original.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in model.model.state_dict().items())
        assert len(list(model.model.parameters())) == len(list(original.parameters()))  # what was tied is tied


def test_the_weights_lie_in_memory_once(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: dict[str, int] = {}

    def state_of(*arguments: Any) -> Any:
        state = weights.state_of(*arguments)
        decoded.update({name: tensor.data_ptr() for name, tensor in state.items()})
        return state

    monkeypatch.setattr(loader, "state_of", state_of)
    saved(files_of(made(llama), tmp_path / "original"))
    with load_model(store, "mine", device="cpu") as model:
        assert {name: tensor.data_ptr() for name, tensor in model.model.state_dict().items()} == decoded


def test_another_class_and_type(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved(files_of(made(llama), tmp_path / "original"))
    with load_model(store, "mine", architecture="LlamaModel", dtype="bfloat16") as model:
        assert type(model.model).__name__ == "LlamaModel"
        assert model(**TOKENS).last_hidden_state.dtype == torch.bfloat16
    with load_model(store, "mine", architecture="AutoModelForCausalLM") as model:
        assert type(model.model).__name__ == "LlamaForCausalLM"
    with pytest.raises(NotLoadableError, match="transformers has no class 'LamaModel'"):
        load_model(store, "mine", architecture="LamaModel")


def test_tensors_that_are_missing_are_an_error(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved(files_of(made(llama).model, tmp_path / "original"))
    with pytest.raises(NotLoadableError, match=r"lack 1 tensors of LlamaForCausalLM, such as lm_head\.weight"):
        load_model(store, "mine", architecture="LlamaForCausalLM")
    with load_model(store, "mine", architecture="LlamaForCausalLM", allow_missing=True) as model:
        assert not model.model.lm_head.weight.is_meta


def test_python_files_of_the_model_are_not_executed(store: Store, saved: Saver, tmp_path: Path) -> None:
    files = files_of(made(llama), tmp_path / "original")
    config = json.loads(files["config.json"]) | {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    saved({**files, "config.json": json.dumps(config).encode(), "theirs.py": b"raise SystemExit('executed')"})
    with pytest.raises(UnsafeModelError, match=r"config\.json in mine@\w{12} names Python files"):
        load_model(store, "mine")


def test_text_without_a_tokenizer(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved(files_of(made(llama), tmp_path / "original"))
    with load_model(store, "mine") as model:
        assert model.processor is None
        with pytest.raises(NotLoadableError, match="the model has no tokenizer"):
            model("Once upon a time")


@pytest.mark.parametrize("data", [b"{", b"[]", b'"text"'])
def test_a_configuration_that_is_none(store: Store, saved: Saver, tmp_path: Path, data: bytes) -> None:
    saved({**files_of(made(llama), tmp_path / "original"), "config.json": data})
    with pytest.raises(NotLoadableError, match=r"config\.json in mine@\w{12} is no JSON"):
        load_model(store, "mine")
