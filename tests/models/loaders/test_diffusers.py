"""Stable Diffusion, tiny and made from configurations: from the store it draws what it drew before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.builtin import diffusers as loader
from casmodels.loaders.builtin import weights
from casmodels.loaders.pipe import portable
from casstore.errors import InvalidInputError
from tests.models.loaders.test_weights import archive

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
Files = dict[str, bytes]
PROMPTS = ["a cat", "a dog", "an ant"]
STEPS = {"num_inference_steps": 2, "height": 16, "width": 16}
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 12, "projection_dim": 16}  # fmt: skip
CHANNELS = {"block_out_channels": (8, 16), "norm_num_groups": 4}


def unet() -> Any:
    return diffusers.UNet2DConditionModel(
        **CHANNELS, layers_per_block=1, sample_size=8, in_channels=4, out_channels=4, cross_attention_dim=16,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def vae() -> Any:
    return diffusers.AutoencoderKL(
        **CHANNELS, latent_channels=4, sample_size=16, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def tokenizer(directory: Path) -> Any:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(letter + "</w>" for letter in letters), "at</w>", "<|startoftext|>", "<|endoftext|>"]
    (directory / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (directory / "merges.txt").write_text("#version: 0.2\na t</w>\n")
    return transformers.CLIPTokenizer.from_pretrained(directory, model_max_length=12)


def pipeline(directory: Path, *, checked: bool = False) -> Any:
    torch.manual_seed(0)
    words = tokenizer(directory)
    special = {"vocab_size": len(words), "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    text = transformers.CLIPTextConfig(**TEXT, **special, pad_token_id=words.pad_token_id)
    vision = transformers.CLIPVisionConfig(**TEXT, image_size=16, patch_size=8)
    both = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    checker = diffusers.pipelines.stable_diffusion.StableDiffusionSafetyChecker(both) if checked else None
    pixels = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return diffusers.StableDiffusionPipeline(
        unet=unet(), vae=vae(), text_encoder=transformers.CLIPTextModel(text), tokenizer=words,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False), safety_checker=checker,
        feature_extractor=pixels if checked else None,
        requires_safety_checker=checked,
    )  # fmt: skip


def files_of(model: Any, **options: Any) -> Files:
    with TemporaryDirectory() as directory:
        model.save_pretrained(directory, **options)
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in Path(directory).rglob("*")
            if path.is_file()
        }


@cache
def original(*, checked: bool = False) -> tuple[Any, Files]:
    with TemporaryDirectory() as directory:
        made = pipeline(Path(directory), checked=checked)
    made.set_progress_bar_config(disable=True)
    return made, files_of(made)


def seeds(count: int) -> list[Any]:
    return [torch.Generator().manual_seed(number) for number in range(count)]


def drawn(model: Any, **options: Any) -> Any:
    return model(PROMPTS, generator=seeds(3), output_type="np", **STEPS, **options).images


def test_a_pipeline(store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, files = original()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    saved(files)
    expected = drawn(made)
    assert len({image.tobytes() for image in expected}) == 3
    with load_model(store, "mine", device="cpu", arguments=STEPS) as model:
        assert model.loader == "diffusers"
        assert type(model.model) is type(made)
        assert np.allclose(model(PROMPTS, generator=seeds(3), output_type="np").images, expected, atol=1e-6)
        batched = model.process_batch({"prompt": PROMPTS, "generator": seeds(3)}, batch_size=2)
        assert np.allclose(batched["images"], expected, atol=1e-5)
        assert set(batched) == {"images"}
        assert portable(model.process_batch(PROMPTS[:1]))["images"].shape == (1, 16, 16, 3)
        assert model.processor(PROMPTS[0])["input_ids"] == made.tokenizer(PROMPTS[0])["input_ids"]
        assert model.processor.name_or_path.startswith("mine@")
        for name in ("unet", "vae", "text_encoder"):
            state = getattr(made, name).state_dict()
            assert all(torch.equal(value, state[key]) for key, value in getattr(model.model, name).state_dict().items())
            assert not getattr(model.model, name).training
        assert not list((tmp_path / "scratch").iterdir())


def test_the_weights_lie_in_memory_once(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: set[int] = set()

    def state_of(*arguments: Any) -> Any:
        state = weights.state_of(*arguments)
        decoded.update(tensor.data_ptr() for tensor in state.values())
        return state

    monkeypatch.setattr(loader, "state_of", state_of)
    saved(original()[1])
    with load_model(store, "mine", device="cpu") as model:
        parts = (model.model.unet, model.model.vae, model.model.text_encoder)
        assert {tensor.data_ptr() for part in parts for tensor in part.parameters()} <= decoded


def test_a_safety_checker_and_doing_without_it(store: Store, saved: Saver) -> None:
    made, files = original(checked=True)
    saved(files)
    expected = made(PROMPTS, generator=seeds(3), output_type="np", **STEPS)
    with load_model(store, "mine", device="cpu", arguments=STEPS) as model:
        found = model.process_batch({"prompt": PROMPTS, "generator": seeds(3)}, batch_size=2)
        assert found["nsfw_content_detected"] == expected.nsfw_content_detected
        assert np.allclose(found["images"], expected.images, atol=1e-5)
        state = made.safety_checker.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in model.model.safety_checker.state_dict().items())
    without = ("safety_checker", "feature_extractor")
    with load_model(store, "mine", device="cpu", without=without) as model:
        assert (model.model.safety_checker, model.model.feature_extractor) == (None, None)
    with pytest.raises(InvalidInputError, match=r"mine@\w{12} has no component 'checker'"):
        load_model(store, "mine", without=("checker",))


def test_one_model(store: Store, saved: Saver) -> None:
    made, files = original()
    inputs = {
        "sample": torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        "timestep": torch.tensor([1, 500, 900]),
        "encoder_hidden_states": torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(2)),
    }
    with torch.inference_mode():
        expected = made.unet(**inputs).sample
    saved(files, "pipeline")
    saved({path.removeprefix("unet/"): data for path, data in files.items() if path.startswith("unet/")})
    for name, path in (("mine", None), ("pipeline", "unet")):
        with load_model(store, name, path=path, device="cpu") as model:
            assert (model.loader, type(model.model)) == ("diffusers", type(made.unet))
            assert torch.allclose(model(**inputs).sample, expected, atol=1e-6)
            assert torch.allclose(model.process_batch(inputs, batch_size=2)["sample"], expected, atol=1e-5)


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_other_forms_of_the_weights(store: Store, saved: Saver, form: str) -> None:
    made, _ = original()
    files = files_of(made.vae, max_shard_size="8KB" if form == "shards" else "1GB")
    if form == "bin":
        del files["diffusion_pytorch_model.safetensors"]
        files["diffusion_pytorch_model.bin"] = archive(made.vae.state_dict())
    assert ("diffusion_pytorch_model.safetensors.index.json" in files) is (form == "shards")
    saved(files)
    with load_model(store, "mine", device="cpu") as model:
        state = made.vae.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in model.model.state_dict().items())


def test_names_of_before_2023(store: Store, saved: Saver) -> None:
    """As in the files of Stable Diffusion 1.5 and of what was made of it."""
    made, files = original(checked=True)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = made.vae.state_dict()
    for new, before in old.items():
        state = {name.replace(f"attentions.0.{new}.", f"attentions.0.{before}."): v for name, v in state.items()}
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in state
    text = {f"text_model.{name}": value for name, value in made.text_encoder.state_dict().items()}
    index = changed(files, "model_index.json", feature_extractor=["transformers", "CLIPFeatureExtractor"])
    weights = {"vae/diffusion_pytorch_model.safetensors": state, "text_encoder/model.safetensors": text}
    saved({**index, **{path: safetensors_torch.save(value) for path, value in weights.items()}})
    with load_model(store, "mine", device="cpu") as model:
        assert type(model.model.feature_extractor) is type(made.feature_extractor)
        for name in ("vae", "text_encoder"):
            own = getattr(made, name).state_dict()
            assert all(torch.equal(value, own[key]) for key, value in getattr(model.model, name).state_dict().items())


def test_variants_and_types(store: Store, saved: Saver) -> None:
    files = original()[1]
    half = pipeline_in_half()
    saved({**files, **half})

    def types(**options: Any) -> list[Any]:
        with load_model(store, "mine", device="cpu", **options) as model:
            return [part.dtype for part in (model.model.unet, model.model.vae, model.model.text_encoder)]

    assert types() == [torch.float32] * 3
    assert types(variant="fp16") == [torch.float16] * 3
    assert types(dtype="bfloat16") == [torch.bfloat16] * 3
    assert types(variant="fp16", dtype=torch.float32) == [torch.float32] * 3
    with pytest.raises(NotLoadableError, match="no weights of the variant 'bf16'") as raised:
        types(variant="bf16")
    assert raised.value.remedy == "it has fp16"
    with pytest.raises(InvalidInputError, match="torch has no type 'float17'"):
        types(dtype="float17")
    saved({path: data for path, data in {**files, **half}.items() if path in half or ".safetensors" not in path})
    assert types() == [torch.float16] * 3
    saved(
        {
            path: data
            for path, data in {**files, **half}.items()
            if path != "vae/diffusion_pytorch_model.fp16.safetensors"
        }
    )
    assert types(variant="fp16") == [torch.float16, torch.float32, torch.float16]


def pipeline_in_half() -> Files:
    with TemporaryDirectory() as directory:
        files = files_of(pipeline(Path(directory)).to(torch.float16), variant="fp16")
    return {path: data for path, data in files.items() if ".fp16." in path}


def changed(files: Files, path: str, **values: Any) -> Files:
    return {**files, path: json.dumps({**json.loads(files[path]), **values}).encode()}


def lacking(files: Files, start: str) -> Files:
    return {path: data for path, data in files.items() if not path.startswith(start)}


def test_what_is_broken_says_what(store: Store, saved: Saver) -> None:
    files = original()[1]
    index = "model_index.json"
    other = safetensors_torch.save({**original()[0].unet.state_dict(), "conv_in.weight": torch.zeros(3, 3)})
    text = safetensors_torch.save({"nothing": torch.zeros(1)})
    for broken, said in (
        ({**files, index: b"{"}, r"model_index\.json in mine@\w{12} is no JSON"),
        ({**files, index: b"[]"}, r"model_index\.json in mine@\w{12} is no JSON object"),
        (changed(files, index, _class_name="TimePipeline"), "names the class 'TimePipeline' of diffusers, which"),
        (changed(files, index, _class_name=["p", "Pipe"]), "names the class"),
        (changed(files, index, _class_name="AutoencoderKL"), "names AutoencoderKL, which is no pipeline"),
        (changed(files, index, unet=["diffusers", "UNet9D"]), "names the class 'UNet9D' of diffusers"),
        (changed(files, index, unet=["os", "system"]), "names the class 'system' of os"),
        (changed(files, index, unet=["pipeline_utils", "os"]), "names the class 'os' of pipeline_utils"),
        (lacking(files, "tokenizer/"), r"mine@\w{12} has no tokenizer, which its model_index\.json lists"),
        (lacking(files, "vae/config.json"), r"vae in mine@\w{12} has no config\.json"),
        (lacking(files, "unet/diffusion"), r"unet in mine@\w{12} has no weights"),
        ({**files, "unet/config.json": b"{"}, r"unet/config\.json in mine@\w{12} is no JSON"),
        (changed(files, "unet/config.json", block_out_channels=[8, 12]), r"weights of unet in mine@\w{12} do not fit"),
        ({**files, "unet/diffusion_pytorch_model.safetensors": other}, r"conv_in\.weight is \(3, 3\) here"),
        ({**files, "text_encoder/model.safetensors": text}, r"text_encoder in mine@\w{12} lack \d+ tensors of CLIP"),
        (changed(files, "vae/config.json", quantization_config={"quant_method": "torchao"}), "vae in .* is quantised"),
    ):  # fmt: skip
        saved(broken)
        with pytest.raises(NotLoadableError, match=said) as raised:
            load_model(store, "mine", device="cpu")
        assert "\n" not in raised.value.message
        assert "/casmodels-" not in raised.value.message


def test_python_files_of_a_pipeline_are_not_executed(store: Store, saved: Saver) -> None:
    files, code = original()[1], {"theirs.py": b"raise SystemExit('executed')"}
    pipe = {**changed(files, "model_index.json", _class_name=["theirs", "Pipe"]), **code}
    part = {**changed(files, "model_index.json", unet=["theirs", "UNet"]), "unet/theirs.py": code["theirs.py"]}
    for broken, said in ((pipe, "for the model, in theirs.py"), (part, "for unet, in unet/theirs.py")):
        saved(broken)
        with pytest.raises(UnsafeModelError, match=f"names a class of its own {said}") as raised:
            load_model(store, "mine")
        assert "sandbox" in (raised.value.remedy or "")
    saved({**files, **code, "pipeline.py": code["theirs.py"], "unet/diffusers.py": code["theirs.py"]})
    with load_model(store, "mine", device="cpu") as model:  # nothing names them
        assert type(model.model).__name__ == "StableDiffusionPipeline"


def test_weights_that_are_more_than_weights(store: Store, saved: Saver) -> None:
    files = files_of(original()[0].unet)
    del files["diffusion_pytorch_model.safetensors"]
    saved({**files, "diffusion_pytorch_model.bin": archive(torch.nn.Linear(2, 2))})
    with pytest.raises(UnsafeModelError, match="is a pickle that is more than weights"):
        load_model(store, "mine")
