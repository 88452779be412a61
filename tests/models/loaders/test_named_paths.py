"""Settings that lead out of the version are not followed; those that only tell where it came from are no matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.named_paths import check_named_paths
from casmodels.loaders.stored_model import StoredModel
from tests.minilm import WEIGHTS
from tests.models.loaders.test_weights import archive

Saver = Callable[..., str]


@pytest.mark.parametrize(
    ("file", "settings", "setting"),
    [
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "org/tok"}, "tokenizer_name_or_path"),
        ("0_CLIP/sentence_bert_config.json", {"processor_name": "/home/them"}, "processor_name"),
        ("sentence_bert_config.json", {"model_args": {"cache_dir": "/home/them"}}, "cache_dir"),
        ("sentence_bert_config.json", {"tokenizer_kwargs": {"a": [{"vocab_file": "../x"}]}}, "vocab_file"),
        ("sentence_bert_config.json", {"config_kwargs": {"offload_folder": "\\\\host\\x"}}, "offload_folder"),
        ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_name_or_path": "dac"}}, "audio_tokenizer_name"),
        ("adapter_config.json", {"base_model_name_or_path": "org/base"}, "base_model_name_or_path"),
        ("modules.json", [{"idx": 0, "path": "../there", "type": "a.B"}], "path"),
        ("modules.json", [{"idx": 0, "path": "/there", "type": "a.B"}], "path"),
    ],
)
def test_what_leads_out(store: Store, saved: Saver, file: str, settings: Any, setting: str) -> None:
    saved({file: json.dumps(settings).encode()})
    with pytest.raises(UnsafeModelError, match=rf"in mine@\w{{12}} has {setting}.* which lies outside the version"):
        check_named_paths(StoredModel(store, "mine"), [file])


def test_what_is_information(store: Store, saved: Saver) -> None:
    saved(
        {
            "config.json": json.dumps({"_name_or_path": "/home/them", "encoder": {"_name_or_path": "org/x"}}).encode(),
            "tokenizer_config.json": b'{"name_or_path": "/home/them", "special_tokens_map_file": "/root/.cache/map"}',
            "sentence_bert_config.json": b'{"tokenizer_name_or_path": null, "model_args": {"dtype": "float16"}}',
            "data_config.json": b"[1]",
            "broken_config.json": b"{",
            "modules.json": b'[{"idx": 0, "path": "", "type": "a.B"}, {"idx": 1, "path": "1_Pooling"}]',
        }
    )
    model = StoredModel(store, "mine")
    check_named_paths(model, model.sizes)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory elsewhere in which nothing can be opened unnoticed: there is a tokenizer in it."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "config.json"):
        (place / name).write_bytes((WEIGHTS / name).read_bytes())
    return place


@pytest.mark.torch
def test_a_tokenizer_elsewhere(store: Store, saved: Saver, there: Path) -> None:
    pytest.importorskip("sentence_transformers")
    files = {path.relative_to(WEIGHTS).as_posix(): path.read_bytes() for path in WEIGHTS.rglob("*") if path.is_file()}
    settings = {"max_seq_length": 256, "do_lower_case": False, "tokenizer_name_or_path": str(there)}
    saved({**files, "sentence_bert_config.json": json.dumps(settings).encode()})
    with pytest.raises(UnsafeModelError, match=r"sentence_bert_config\.json in mine@\w{12} has tokenizer_name_or_path"):
        load_model(store, "mine", device="cpu")


@pytest.mark.torch
@pytest.mark.parametrize("file", ["processor_config.json", "audio_tokenizer_config.json"])
def test_an_audio_tokenizer_elsewhere(
    store: Store, saved: Saver, there: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    opened: list[str] = []
    monkeypatch.setattr(
        transformers.DacModel, "from_pretrained", lambda path, **_: opened.append(path) or transformers.BertConfig()
    )
    said = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": str(there)}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    made = transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=40))
    processor: dict[str, Any] = {"processor_class": "DiaProcessor"}
    processor |= {"audio_tokenizer": said} if file == "processor_config.json" else {}
    extractor = {"feature_extractor_type": "DacFeatureExtractor", "processor_class": "DiaProcessor"}
    saved(
        {
            "config.json": made.config.to_json_string().encode(),
            "pytorch_model.bin": archive(made.state_dict()),
            "processor_config.json": json.dumps(processor).encode(),
            **({file: json.dumps(said).encode()} if file.startswith("audio") else {}),
            "preprocessor_config.json": json.dumps(extractor).encode(),
            **{
                name: (WEIGHTS / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
            },
        }
    )
    with load_model(store, "mine", loader="transformers", device="cpu") as model:
        assert type(model.model).__name__ == "BertModel"
        assert "Tokenizer" in type(model.processor).__name__
    assert opened == []
