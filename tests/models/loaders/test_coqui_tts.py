"""Coqui's models of speech: with a stand-in what coqui-tts is given, and where it is installed what it says."""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from casmodels import extras
from casmodels.errors import BrokenLoaderError, DeviceError, MissingExtraError, NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.errors import InvalidInputError
from tests.models.loaders.test_weights import archive

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
SETTINGS = {"model": "vits", "audio": {"sample_rate": 16000}}
STATE = {"model": {"w": torch.arange(4.0)}, "step": 3}


def files_of(settings: dict[str, Any] | None = None, **others: bytes) -> dict[str, bytes]:
    named = {name.replace("__", "."): data for name, data in others.items()}
    return {"config.json": json.dumps(settings or SETTINGS).encode(), "model.pth": archive(STATE), **named}


class Given:
    """What a synthesizer was made of and asked for."""

    files: dict[str, bytes]
    settings: dict[str, Any]
    asked: list[dict[str, Any]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """A stand-in for coqui-tts, whose torchaudio does not go with the torch of these tests."""
    found = Given()
    found.asked = []

    class Synthesizer:
        output_sample_rate = 24000
        voice_dir: Path | None = Path("voices")

        def __init__(self, tts_checkpoint: Path, tts_config_path: Path) -> None:
            assert tts_checkpoint.parent == tts_config_path.parent
            found.files = {path.name: path.read_bytes() for path in tts_config_path.parent.iterdir()}
            found.settings = json.loads(found.files["config.json"])
            self.state = torch.load(tts_checkpoint, weights_only=True)["model"]

        def to(self, device: str) -> None:
            self.device = device

        def tts(self, text: str, **options: Any) -> list[Any]:
            found.asked.append({"text": text, **options})
            return [np.float32(len(text))] * len(text)

    module = ModuleType("TTS.utils.synthesizer")
    module.Synthesizer = Synthesizer  # type: ignore[attr-defined]
    for name in ("TTS", "TTS.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "TTS.utils.synthesizer", module)
    return found


@pytest.mark.parametrize("file", ["model.pth", "best_model.pth", "checkpoint_100.pth.gz"])
def test_it_gets_a_directory(store: Store, saved: Saver, given: Given, file: str) -> None:
    files = files_of(README__md=b"# a voice", speakers__pth=archive({"a": torch.ones(2)}), dvae__pth=b"not needed")
    data = files.pop("model.pth")
    files[file] = gzip.compress(data) if file.endswith(".gz") else data
    saved(files)
    with load_model(store, "mine", speaker="Ana") as model:
        assert (model.loader, model.device) == ("coqui-tts", "cpu")
        assert set(given.files) == {"config.json", "README.md", "speakers.pth", "model.pth"}
        assert given.files["model.pth"] == data
        assert model.model.state["w"].tolist() == [0, 1, 2, 3]
        assert model.model.voice_dir is None
        found = model("hello", language="en", style="loud")
        assert (found["wav"].dtype, found["wav"].tolist(), found["sampling_rate"]) == ("float32", [5.0] * 5, 24000)
        assert [each["wav"].shape for each in model.process_batch(["a", "bcd", "ef"], batch_size=2)] == [
            (1,),
            (3,),
            (2,),
        ]
    said = {"speaker_name": "Ana", "language_name": "en", "speaker_wav": None, "style": "loud"}
    assert given.asked[0] == {"text": "hello", **said}
    assert given.asked[1]["language_name"] is None


def test_paths_of_the_settings_lead_nowhere_else(store: Store, saved: Saver, given: Given) -> None:
    """Neither to the machine of whoever trained it, nor to the network."""
    settings = {
        **SETTINGS,
        "output_path": "/home/them/runs",
        "speakers_file": "/home/them/data/ids.json",
        "test_sentences_file": "https://example.invalid/sentences.txt",
        "model_args": {
            "d_vector_file": ["/home/them/vectors.json"],
            "language_ids_file": "",
            "speaker_encoder_model_path": "https://example.invalid/SE_checkpoint.pth.tar",
            "speaker_encoder_config_path": None,
            "hidden_channels": 16,
        },
    }
    saved(files_of(settings, ids__json=b"{}", model_se__pth=archive(STATE), vectors__json=b"{}"))
    with load_model(store, "mine"):
        found = given.settings
    names = {key: Path(found[key]).name for key in found if key.endswith(("_file", "_path"))}
    assert names == {"speakers_file": "ids.json"}
    assert not Path(found["speakers_file"]).exists()
    (vectors,) = found["model_args"].pop("d_vector_file")
    encoder = found["model_args"].pop("speaker_encoder_model_path")
    assert (Path(vectors).name, Path(encoder).name) == ("vectors.json", "model_se.pth")
    assert found["model_args"] == {"hidden_channels": 16}
    assert found["audio"] == SETTINGS["audio"]


def test_pickles_are_refused(store: Store, saved: Saver, given: Given) -> None:
    saved({**files_of(), "model.pth": archive({"model": STATE, "config": Path("x")})})
    with pytest.raises(UnsafeModelError, match=r"model\.pth in mine@\w{12} is a pickle that is more than weights"):
        load_model(store, "mine")


@pytest.mark.parametrize(
    ("files", "loader"),
    [
        (files_of({"model": "bark", "audio": {}}), "weights"),
        (files_of({"model": "vits", "base_model": "bark", "audio": {}}), "weights"),
        (files_of({"model": "os", "audio": {}}), "weights"),
        (files_of({"model": ["vits"], "audio": {}}), "weights"),
        (files_of({"model": "vits"}), "weights"),
        (files_of({"model": "FastPitch", "base_model": "forward_tts", "audio": {}}), "weights"),
        (files_of({"model": "fast_pitch", "base_model": "forward_tts", "audio": {}}), "coqui-tts"),
        ({"model.pth": archive(STATE)}, "weights"),
    ],
)
def test_what_it_recognises(store: Store, saved: Saver, given: Given, files: dict[str, bytes], loader: str) -> None:
    """Not Bark: coqui-tts loads its files as pickles."""
    saved(files)
    with load_model(store, "mine") as model:
        assert model.loader == loader


def test_several_checkpoints(store: Store, saved: Saver, given: Given) -> None:
    saved({**files_of(best_model__pth=archive({"model": {"w": torch.ones(1)}})), "model.pth": archive(STATE)})
    with load_model(store, "mine") as model:
        assert len(model.model.state["w"]) == 4
    with load_model(store, "mine", path="best_model.pth") as model:
        assert len(model.model.state["w"]) == 1
        assert "best_model.pth" not in given.files


def test_what_is_broken_or_missing_is_one_sentence(
    store: Store, saved: Saver, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved({**files_of(), "model.pth": archive({"w": torch.ones(1)})})
    with pytest.raises(NotLoadableError, match=r"model\.pth in mine@\w{12} is no checkpoint of Coqui's: it lacks 'mod"):
        load_model(store, "mine")
    saved({**files_of(), "model.pth": b"nothing"})
    with pytest.raises(NotLoadableError, match=r"'coqui-tts' cannot load model\.pth of mine@\w{12}: ") as raised:
        load_model(store, "mine")
    assert "\n" not in raised.value.message
    saved(files_of())
    with pytest.raises(InvalidInputError, match="'coqui-tts' has no option 'voice'") as wrong:
        load_model(store, "mine", voice="Ana")
    assert wrong.value.remedy == "it has speaker, language, speaker_wav"
    with pytest.raises(DeviceError, match="no device 'cuda:7' here for the loader 'coqui-tts'"):
        load_model(store, "mine", device="cuda:7")

    def broken(name: str) -> ModuleType:
        raise OSError("Could not load this library: _torchaudio.abi3.so")

    monkeypatch.setattr(extras, "import_module", broken)
    with pytest.raises(BrokenLoaderError, match="TTS is installed but cannot be imported: Could not load this lib"):
        load_model(store, "mine")
    monkeypatch.undo()
    real = extras.import_module
    monkeypatch.setattr(extras, "import_module", lambda name: real("no_such_" + name))
    with pytest.raises(MissingExtraError) as missing:
        load_model(store, "mine")
    assert missing.value.remedy == "run `pip install 'casmodels[coqui-tts]'`"


# What follows needs coqui-tts itself (make test-speech).

PYTHON_ALONE = """
import sys, types
extension = types.ModuleType("torchaudio._extension")
extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
extension.fail_if_no_align = lambda function: function
sys.modules["torchaudio._extension"] = extension
"""
"""torchaudio without what of it is compiled, which no model here calls, and which PyPI has for CUDA only."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files and the library's own would be."""
    pytest.importorskip("TTS")
    try:
        import torchaudio  # noqa: F401
    except OSError:
        exec(PYTHON_ALONE)
    if not hasattr(sys.modules["torchaudio._extension"], "__file__"):
        (tmp_path / "sitecustomize.py").write_text(PYTHON_ALONE)  # for workers
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    for variable in ("TMPDIR", "TTS_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(found))
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    return found


def vits(directory: Path) -> None:
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    arguments = VitsArgs(
        hidden_channels=16, hidden_channels_ffn_text_encoder=32, num_layers_text_encoder=1, init_discriminator=False,
        num_layers_posterior_encoder=1, num_layers_flow=1, upsample_initial_channel_decoder=16,
        resblock_kernel_sizes_decoder=[3], resblock_dilation_sizes_decoder=[[1, 3, 5]],
    )  # fmt: skip
    letters = CharactersConfig(
        characters_class="TTS.tts.models.vits.VitsCharacters", pad="_", eos="", bos="", blank="", phonemes="",
        characters="abcdefghijklmnopqrstuvwxyz", punctuations="!,.? ",
    )  # fmt: skip
    config = VitsConfig(model_args=arguments, use_phonemes=False, text_cleaner="basic_cleaners", characters=letters)
    torch.manual_seed(0)
    config.save_json(directory / "config.json")
    torch.save({"model": Vits(config).state_dict(), "config": config.to_dict()}, directory / "model.pth")


def xtts(directory: Path) -> None:
    """As XTTS was released: its settings are pickled in the checkpoint, as classes of where they were then."""
    import tokenizers
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
    from TTS.tts.models import xtts as home

    words = ["[STOP]", "[UNK]", "[SPACE]", "[en]", *"abcdefghijklmnopqrstuvwxyz.,!?'"]
    bpe = tokenizers.models.BPE({word: place for place, word in enumerate(words)}, [], unk_token="[UNK]")
    vocabulary = tokenizers.Tokenizer(bpe)
    vocabulary.add_special_tokens(["[STOP]", "[SPACE]", "[en]"])
    vocabulary.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vocabulary.save(str(directory / "vocab.json"))
    arguments = XttsArgs(
        gpt_layers=1, gpt_n_model_channels=64, gpt_n_heads=2, gpt_max_audio_tokens=60, gpt_max_text_tokens=40,
        gpt_max_prompt_tokens=20, gpt_number_text_tokens=60, gpt_num_audio_tokens=66, gpt_start_audio_token=64,
        gpt_stop_audio_token=65, decoder_input_dim=64,
    )  # fmt: skip
    config = XttsConfig(model_args=arguments)
    torch.manual_seed(0)
    made = home.Xtts(config)
    made.tokenizer = home.VoiceBpeTokenizer(vocab_file=directory / "vocab.json")
    made.init_models()
    config.save_json(directory / "config.json")
    now = XttsArgs.__module__
    try:
        XttsArgs.__module__ = XttsAudioConfig.__module__ = home.__name__
        torch.save({"model": made.state_dict(), "config": config}, directory / "model.pth")
    finally:
        XttsArgs.__module__ = XttsAudioConfig.__module__ = now
    voice = {"gpt_cond_latent": torch.randn(1, 32, 64), "speaker_embedding": torch.randn(1, 512, 1)}
    torch.save({"Ana": voice}, directory / "speakers_xtts.pth")


def left_in(place: Path) -> list[str]:
    """Of what is not torch's own cache of programs."""
    return [path.name for path in place.iterdir() if not path.name.startswith("torchinductor")]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("make", "options", "rate"), [(vits, {}, 22050), (xtts, {"speaker": "Ana", "language": "en"}, 24000)]
)
def test_it_says_the_same(
    store: Store, tmp_path: Path, place: Path, make: Callable[[Path], None], options: dict[str, str], rate: int
) -> None:
    from TTS.utils.synthesizer import Synthesizer

    (tmp_path / "voice").mkdir()
    make(tmp_path / "voice")
    store.checkpoint("voice", tmp_path / "voice")
    original = Synthesizer(tts_checkpoint=tmp_path / "voice/model.pth", tts_config_path=tmp_path / "voice/config.json")
    with load_model(store, "voice", **options) as model:
        assert isinstance(model.model, Synthesizer)
        torch.manual_seed(3)
        names = {"speaker_name": options.get("speaker"), "language_name": options.get("language")}
        expected = np.asarray(original.tts("hello there.", **names), dtype="float32")
        torch.manual_seed(3)
        found = model("hello there.")
        assert found["sampling_rate"] == rate
        assert len(found["wav"]) > 10_000
        assert np.array_equal(found["wav"], expected)
        assert model.to("cpu") is model
    assert left_in(place) == []


@pytest.mark.filterwarnings("default")
def test_in_a_process_of_its_own_and_nothing_stays(store: Store, tmp_path: Path, place: Path) -> None:
    (tmp_path / "voice").mkdir()
    vits(tmp_path / "voice")
    store.checkpoint("voice", tmp_path / "voice")
    with load_model(store, "voice", isolated=True) as model:
        first, second = model.process_batch(["hello there.", "good night"])
        assert isinstance(first["wav"], np.ndarray)
        assert len(second["wav"]) > 10_000
    assert left_in(place) == []
