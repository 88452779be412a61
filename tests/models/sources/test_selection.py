"""The repos here are the lists of files of real ones, shortened; sizes only where they matter."""

from __future__ import annotations

import pytest

from casmodels.sources.listing import UpstreamFile
from casmodels.sources.selection import select_files

MIB = 1 << 20


def listing(text: str) -> list[UpstreamFile]:
    """Paths with their size in MiB after a colon, if it is not tiny."""
    files = []
    for item in text.split():
        path, _, size = item.partition(":")
        files.append(UpstreamFile(path, int(float(size or 0.001) * MIB), "0" * 40))
    return files


def chosen(text: str, **options: object) -> set[str]:
    return {file.path for file in select_files(listing(text), **options).chosen}  # type: ignore[arg-type]


def left_out(text: str, **options: object) -> dict[str, str]:
    selection = select_files(listing(text), **options)  # type: ignore[arg-type]
    return {left.file.path: left.reason for left in selection.left_out}


MINILM = """
.gitattributes README.md 1_Pooling/config.json config.json config_sentence_transformers.json data_config.json
model.safetensors:87 modules.json onnx/model.onnx:86 onnx/model_O1.onnx:86 onnx/model_qint8_arm64.onnx:22
openvino/openvino_model.bin:86 openvino/openvino_model.xml openvino/openvino_model_qint8_quantized.bin:22
pytorch_model.bin:87 rust_model.ot:87 sentence_bert_config.json special_tokens_map.json tf_model.h5:87
tokenizer.json tokenizer_config.json train_script.py vocab.txt
"""


def test_a_sentence_transformer() -> None:
    assert chosen(MINILM) == {
        ".gitattributes",
        "README.md",
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "data_config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "train_script.py",
        "vocab.txt",
    }
    reasons = left_out(MINILM)
    assert reasons["pytorch_model.bin"] == "the same weights as safetensors are taken"
    assert reasons["onnx/model.onnx"] == "in the onnx format"
    assert reasons["openvino/openvino_model.xml"] == "in the openvino format"


def test_everything_is_either_chosen_or_left_out_once() -> None:
    selection = select_files(listing(MINILM))
    paths = [file.path for file in selection.chosen] + [left.file.path for left in selection.left_out]
    assert sorted(paths) == sorted(file.path for file in listing(MINILM))


@pytest.mark.parametrize(
    ("repo", "without"),
    [
        # only torch
        ("config.json pytorch_model.bin:500 tf_model.h5:500 vocab.json", "tf_model.h5"),
        ("model.pth:500 dvae.pth:200 mel_stats.pth config.json", ""),
        # a module whose weights exist as torch only, beside one that has both
        (
            "model.safetensors:400 pytorch_model.bin:400 2_Dense/config.json 2_Dense/pytorch_model.bin:2",
            "pytorch_model.bin",
        ),
        # parts of their own beside the model
        ("pytorch_model.bin:2000 colbert_linear.pt:2 sparse_linear.pt onnx/model.onnx:2000", "onnx/model.onnx"),
        ("model.safetensors:2000 pytorch_model.bin:2000 colbert_linear.pt:2", "pytorch_model.bin"),
        # shards
        (
            (
                "model-00001-of-00002.safetensors:5 model-00002-of-00002.safetensors:5 model.safetensors.index.json"
                " pytorch_model-00001-of-00002.bin:5 pytorch_model-00002-of-00002.bin:5 pytorch_model.bin.index.json"
            ),
            "pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin pytorch_model.bin.index.json",
        ),
        # a shard is missing: torch's set is complete
        (
            (
                "model-00001-of-00002.safetensors:5 model.safetensors.index.json"
                " pytorch_model-00001-of-00002.bin:5 pytorch_model-00002-of-00002.bin:5 pytorch_model.bin.index.json"
            ),
            "model-00001-of-00002.safetensors model.safetensors.index.json",
        ),
        # a shard is missing and there is nothing else: all is taken
        ("model-00001-of-00002.safetensors:5 model.safetensors.index.json", ""),
        # one shard with its index
        ("model-00001-of-00001.safetensors:5 model.safetensors.index.json config.json", ""),
        # shards with names of their own
        ("layer1.safetensors:5 layer2.safetensors:5 model.safetensors.index.json", ""),
        # whole and in shards
        (
            (
                "model.safetensors:9 model-00001-of-00002.safetensors:5 model-00002-of-00002.safetensors:5"
                " model.safetensors.index.json"
            ),
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        ),
        # variants
        (
            "model.safetensors:9 model.fp16.safetensors:5 pytorch_model.bin:9 pytorch_model.fp16.bin:5",
            "model.fp16.safetensors pytorch_model.bin pytorch_model.fp16.bin",
        ),
        ("model.fp16.safetensors:5 pytorch_model.bin:9 config.json", "model.fp16.safetensors"),
        ("model.fp16.safetensors:5 model.bf16.safetensors:5 model.fp16.bin:5", "model.fp16.safetensors model.fp16.bin"),
        ("model.fp16.safetensors:5 config.json", ""),
        (
            (
                "diffusion_pytorch_model.safetensors:9 diffusion_pytorch_model.fp16-00001-of-00002.safetensors:3"
                " diffusion_pytorch_model.fp16-00002-of-00002.safetensors:3"
                " diffusion_pytorch_model.safetensors.index.fp16.json"
            ),
            (
                "diffusion_pytorch_model.fp16-00001-of-00002.safetensors"
                " diffusion_pytorch_model.fp16-00002-of-00002.safetensors"
                " diffusion_pytorch_model.safetensors.index.fp16.json"
            ),
        ),
        (
            "unet/m.safetensors:9 unet/m-00001-of-00002.fp16.safetensors:3 unet/m-00002-of-00002.fp16.safetensors:3",
            "unet/m-00001-of-00002.fp16.safetensors unet/m-00002-of-00002.fp16.safetensors",
        ),
        # a pipeline with a one-file checkpoint beside its parts
        (
            (
                "model_index.json v1-5-pruned.safetensors:7000 v1-5-pruned.ckpt:7000 scheduler/scheduler_config.json"
                " unet/diffusion_pytorch_model.safetensors:3000 unet/diffusion_pytorch_model.bin:3000"
                " unet/diffusion_pytorch_model.non_ema.safetensors:3000 vae/diffusion_pytorch_model.safetensors:300"
            ),
            (
                "v1-5-pruned.safetensors v1-5-pruned.ckpt unet/diffusion_pytorch_model.bin"
                " unet/diffusion_pytorch_model.non_ema.safetensors"
            ),
        ),
        # the maker's own format
        (
            (
                "consolidated.safetensors:9 model-00001-of-00002.safetensors:5 model-00002-of-00002.safetensors:5"
                " model.safetensors.index.json tokenizer.model.v3"
            ),
            "consolidated.safetensors",
        ),
        (
            "model.safetensors:9 original/consolidated.00.pth:9 original/params.json original/tokenizer.model:2",
            "original/consolidated.00.pth",
        ),
        ("consolidated.00.pth:9 params.json tokenizer.model", ""),
        # training state
        (
            (
                "model.safetensors:9 optimizer.pt:18 scheduler.pt rng_state.pth rng_state_0.pth training_args.bin"
                " checkpoint-500/model.safetensors:9 checkpoint-500/optimizer.pt:18 checkpoint-500/config.json"
            ),
            (
                "optimizer.pt scheduler.pt rng_state.pth rng_state_0.pth checkpoint-500/model.safetensors"
                " checkpoint-500/optimizer.pt"
            ),
        ),
        ("checkpoint-500/model.safetensors:9 checkpoint-500/config.json README.md", ""),
        # only other formats
        ("README.md model.Q4_K_M.gguf:4000 model.Q8_0.gguf:8000 config.json", ""),
        ("config.json tokenizer.json onnx/model.onnx:90 onnx/model_fp16.onnx:45 onnx/model.onnx_data:2000", ""),
        ("training_args.bin model.Q4_K_M.gguf:4000", ""),
        ("ggml-base.bin:140 ggml-tiny.bin:75 README.md", ""),
        ("openvino_model.xml openvino_model.bin:80 config.json", ""),
        ("openvino_model.xml openvino_model.bin:80 model.safetensors:80", "openvino_model.xml openvino_model.bin"),
        ("tf_model.h5:500 flax_model.msgpack:500 config.json", "flax_model.msgpack"),
        ("saved_model.pb:3 variables/variables.data-00000-of-00001:90 variables/variables.index", ""),
        (
            "model.safetensors:9 model.mlpackage/Data/weights.bin:9 Model.mlmodelc/x:11 model.onnx.data:9 big.onnx:9",
            "model.mlpackage/Data/weights.bin Model.mlmodelc/x model.onnx.data big.onnx",
        ),
        ("adapter_model.safetensors:9 adapter_model.bin:9 adapter_config.json", "adapter_model.bin"),
        ("open_clip_model.safetensors:9 open_clip_pytorch_model.bin:9", "open_clip_pytorch_model.bin"),
        # other large files
        ("model.safetensors:9 tokenizer.json:33 spiece.model:12 demo.mp4:50 image.png:2", "demo.mp4"),
        # nothing that is known to be weights
        ("model.ftz:900 model.joblib:20 README.md", ""),
        ("", ""),
    ],
)
def test_one_format_and_what_goes_with_it(repo: str, without: str) -> None:
    assert set(left_out(repo)) == set(without.split())


def test_patterns_are_the_hubs() -> None:
    assert chosen(MINILM, include=["*.json", "onnx/"], exclude=["*tokenizer*", "onnx/*arm64*"]) == {
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "data_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "onnx/model.onnx",
        "onnx/model_O1.onnx",
    }
    assert left_out(MINILM, include=["vocab.txt"])["model.safetensors"] == "not included"


def test_patterns_agree_with_the_hubs_library() -> None:
    from huggingface_hub.utils import filter_repo_objects

    paths = [file.path for file in listing(MINILM)]
    for include, exclude in [(["*.json"], []), (["onnx/"], ["*O1*"]), (["*"], ["*.bin", "*.h5"]), (["[cm]*"], [])]:
        theirs = set(filter_repo_objects(paths, allow_patterns=include, ignore_patterns=exclude))
        assert chosen(MINILM, include=include, exclude=exclude) == theirs


def test_an_excluded_format_leaves_the_next() -> None:
    reasons = left_out(MINILM, exclude=["*.safetensors"])
    assert reasons["model.safetensors"] == "excluded"
    assert "pytorch_model.bin" not in reasons
    assert "onnx/model.onnx" in reasons


def test_all_files_are_all_but_the_excluded() -> None:
    assert set(left_out(MINILM, all_files=True)) == set()
    assert set(left_out(MINILM, all_files=True, exclude=["*.ot"])) == {"rust_model.ot"}


def test_the_order_of_the_listing_does_not_matter() -> None:
    files = listing(MINILM)
    assert set(select_files(files).chosen) == set(select_files(files[::-1]).chosen)
