"""What users of the two programs that casmodels replaces type and call today, on real models, import lines apart."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels import ModelDownloader, ModelManager, ModelSpec, ModelType, quantize_model, verify_model_integrity
from casmodels.cli.program import run
from casmodels.errors import DeviceError
from tests.hub import FakeHub
from tests.minilm import REPO, WEIGHTS

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

TEXTS = ["That is a happy person", "That is a very happy person", "Heute ist ein sonniger Tag"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60}


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def whisper(directory: Path) -> dict[str, bytes]:
    """A Whisper that nobody has trained, in the layout of a published one."""
    ends = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2}
    layers = {f"{side}_{part}": size for side in ("encoder", "decoder")
              for part, size in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    sizes = {"num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 12}
    config = transformers.WhisperConfig(d_model=32, vocab_size=60, **ends, **layers, **sizes)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(directory)
    return files_of(directory)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """What the four default models and Whisper have upstream: MiniLM is the real one."""
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=60))
    roberta = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**SMALL, num_labels=3))
    mpnet = transformers.MPNetModel(transformers.MPNetConfig(**SMALL))
    with FakeHub() as hub:
        hub.add(REPO, files_of(WEIGHTS))
        for repo, model in {
            "sentence-transformers/all-mpnet-base-v2": mpnet,
            "microsoft/DialoGPT-medium": gpt,
            "cardiffnlp/twitter-roberta-base-sentiment-latest": roberta,
        }.items():
            model.save_pretrained(tmp_path / "made" / repo)
            hub.add(repo, files_of(tmp_path / "made" / repo))
        hub.add("openai/whisper-base", whisper(tmp_path / "made" / "whisper"))
        (tmp_path / "config.toml").touch()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
        yield hub


@pytest.mark.usefixtures("hub")
def test_the_api_of_the_model_downloader() -> None:
    async def program() -> None:
        downloader = ModelDownloader(cache_dir="models")
        result = await downloader.download_model("text-embedding-ada-002")
        assert (result.status, result.error) == ("completed", None)
        assert (result.size_mb > 80, result.duration_seconds > 0) == (True, True)
        found = sentence_transformers.SentenceTransformer(result.path, device="cpu").encode(TEXTS)
        wanted = sentence_transformers.SentenceTransformer(str(WEIGHTS), device="cpu").encode(TEXTS)
        assert (found == wanted).all()
        several = await downloader.download_multiple_models(["ada-002", "gpt-3.5-instruct", "no-such-model"])
        assert [each.status for each in several] == ["cached", "completed", "failed"]
        assert "no-such-model" in str(several[2].error)
        assert downloader.is_model_downloaded("embedding-ada-002")
        assert not downloader.is_model_downloaded("mpnet-base")
        spec = ModelSpec(
            id="my-sentiment",
            name="Sentiment",
            model_type=ModelType.TEXT_CLASSIFICATION,
            huggingface_id="cardiffnlp/twitter-roberta-base-sentiment-latest",
            description="positive, neutral or negative",
            context_length=512,
            parameters="125M",
            aliases=["mood"],
        )
        downloader.registry.register_model(spec)
        mood = await downloader.download_model("mood")
        assert (mood.status, downloader.is_model_downloaded("my-sentiment")) == ("completed", True)
        transformers.AutoModelForSequenceClassification.from_pretrained(mood.path)

    asyncio.run(program())


@pytest.mark.usefixtures("hub")
def test_the_commands_of_the_model_downloader(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> Any:
        assert run(["--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    defaults = {"embedding-ada-002", "embedding-large", "gpt-3.5-turbo-instruct", "text-classifier-roberta"}
    assert defaults <= {model["id"] for model in said("list", "--available")}
    aliases = {alias for model in said("aliases") for alias in model["aliases"]}
    assert {"ada-002", "mpnet-base", "turbo-instruct", "sentiment-roberta"} <= aliases
    assert [result["status"] for result in said("pull", "ada-002")] == ["completed"]
    assert [result["status"] for result in said("pull", "--all")] == ["cached", "completed", "completed", "completed"]
    assert said("cleanup")["reclaimed_bytes"] == 0
    assert run(["download-all"]) == 2
    assert "casmodels pull --all" in capsys.readouterr().err


@pytest.mark.usefixtures("hub")
def test_the_api_of_the_model_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_GPU", "false")
    monkeypatch.setenv("BATCH_SIZE", "2")
    with ModelManager() as manager:
        manager.download_model("whisper-base")
        model = manager.load_model("whisper-base")
        batch_data = {"input_features": torch.randn(5, 8, 20), "decoder_input_ids": torch.randint(3, 60, (5, 4))}
        with torch.no_grad():
            wanted = transformers.AutoModelForSpeechSeq2Seq.from_pretrained("made/whisper")(**batch_data).logits
        torch.testing.assert_close(model.process_batch(batch_data, batch_size=32)["logits"], wanted)
        torch.testing.assert_close(model.process_batch(batch_data)["logits"], wanted)
        assert model.to("cpu") is model
        if not torch.cuda.is_available():
            with pytest.raises(DeviceError, match="there is no device 'cuda' here"):
                manager.load_model("whisper-base", device="cuda")
        manager.unload_model("whisper-base")
        assert manager.loaded == ()


@pytest.mark.usefixtures("hub")
def test_quantising_metrics_and_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchao")
    monkeypatch.setenv("USE_GPU", "false")
    with ModelManager(logs_dir="logs") as manager:
        manager.download_model("ada-002")
        model = manager.load_model("ada-002")
        wanted = model.process_batch(TEXTS)
        with quantize_model(model, dtype="int8") as small:
            found = small.process_batch(TEXTS, batch_size=32)
        assert ((found * wanted).sum(axis=1) > 0.996).all()  # their lengths are one
        assert model.evaluate(TEXTS, wanted, metric=lambda given, expected: float((given == expected).mean())) == 1
        metrics = model.metrics
        assert (metrics.calls, metrics.items, metrics.accuracy, metrics.gpu) == (2, 6, 1, None)
        assert metrics.latency is not None
        assert 0 < metrics.latency.p50_seconds <= metrics.latency.p99_seconds < metrics.busy_seconds
        assert (metrics.process_bytes or 0) > 100 << 20
    logs = {name: (tmp_path / "logs" / "models" / f"{name}.log").read_text().splitlines()
            for name in ("download", "inference", "performance")}  # fmt: skip
    assert any("model.safetensors" in line for line in logs["download"])
    assert [json.loads(line)["items"] for line in logs["inference"]] == [3, 3, 3]
    assert {json.loads(line)["calls"] for line in logs["performance"]} == {1, 2}


def test_lists_checksums_and_gzipped_models(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (tmp_path / "made" / "whisper" / "model.safetensors").read_bytes()
    expected_checksum = f"sha256:{hashlib.sha256(whole).hexdigest()}"
    entry = {"name": "whisper-base", "type": "audio/stt", "source": "huggingface", "repo": "openai/whisper-base",
             "files": ["model.safetensors", "config.json"], "size_mb": 1, "checksum": expected_checksum}  # fmt: skip
    (tmp_path / "download_list.json").write_text(json.dumps({"models": [entry]}))
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("HF_MIRROR", hub.url)
    assert run(["pull", "--list", "download_list.json"]) == 0
    assert run(["checkout", "whisper-base", "out"]) == 0
    assert verify_model_integrity("out/model.safetensors", expected_checksum)
    (tmp_path / "model.pt.gz").write_bytes(gzip.compress((tmp_path / "out" / "model.safetensors").read_bytes()))
    assert not verify_model_integrity("model.pt.gz", expected_checksum)
    torch.save({"weight": torch.arange(6.0)}, "model.pt")
    (tmp_path / "model.pt.gz").write_bytes(gzip.compress((tmp_path / "model.pt").read_bytes()))
    assert run(["checkpoint", "mine", "model.pt.gz"]) == 0
    with ModelManager() as manager:
        assert torch.equal(manager.load_model("mine").model["weight"], torch.arange(6.0))
    entry["checksum"] = "sha256:" + "0" * 64
    (tmp_path / "download_list.json").write_text(json.dumps({"models": [entry]}))
    capsys.readouterr()
    assert run(["pull", "--list", "download_list.json", "--force"]) == 4
    assert "model.safetensors" in capsys.readouterr().err
