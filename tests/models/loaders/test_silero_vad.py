"""Silero VAD, on the weights that its package brings: what is speech from the store is speech to the package."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels import extras
from casmodels.errors import DeviceError, MissingExtraError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.errors import InvalidInputError
from tests.models.loaders.sounds import RATE, vowel
from tests.models.loaders.test_onnx import linear

torch = pytest.importorskip("torch")
silero_vad = pytest.importorskip("silero_vad")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
HUB_NAME = "onnx-community/silero-vad"
SOUND = vowel()
OTHER = vowel(4.0, 2.0, 3.5)


def weights(name: str) -> bytes:
    return (files("silero_vad.data") / name).read_bytes()


def original(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated
        return silero_vad.load_silero_vad(**options)


def probabilities(model: Any) -> list[float]:
    """Of each whole window of the sound, one after the other."""
    model.model.reset_states()
    return [float(model(SOUND[start : start + 512], RATE)) for start in range(0, len(SOUND) - 511, 512)]


@pytest.mark.parametrize(
    ("place", "file", "onnx"),
    [
        ("silero_vad.jit", "silero_vad.jit", False),
        ("data/silero_vad.jit.gz", "silero_vad.jit", False),
        ("silero_vad.onnx", "silero_vad.onnx", True),
        ("silero_vad_v5.onnx.gz", "silero_vad.onnx", True),
        ("silero-vad-ifless.onnx", "silero_vad_op18_ifless.onnx", True),
    ],
)
def test_the_same_probabilities_and_speech(store: Store, saved: Saver, place: str, file: str, onnx: bool) -> None:
    data = weights(file)
    saved({place: gzip.compress(data) if place.endswith(".gz") else data, "README.md": b"# VAD"})
    reference = original(onnx=onnx)
    expected = [silero_vad.get_speech_timestamps(torch.tensor(sound), reference) for sound in (SOUND, OTHER)]
    assert [len(found) for found in expected] == [1, 1]
    assert abs(expected[0][0]["start"] - RATE) < RATE / 5
    with torch.no_grad():
        whole = reference.audio_forward(torch.tensor(SOUND)[None], RATE)[0].tolist()
    with load_model(store, "mine") as model:
        assert (model.loader, model.device) == ("silero-vad", "cpu")
        exact = "ifless" not in place  # the same network, put together in another way
        assert probabilities(model) == pytest.approx(whole[: len(SOUND) // 512], abs=0 if exact else 1e-4)
        assert model.process_batch([SOUND, OTHER, SOUND], batch_size=2) == [*expected, expected[0]]
        assert model.process_batch([torch.tensor(SOUND)]) == expected[:1]
        assert silero_vad.get_speech_timestamps(torch.tensor(OTHER), model.model) == expected[1]
        assert [found for found in map(silero_vad.VADIterator(model.model), windows(SOUND)) if found]


def windows(sound: Any) -> list[Any]:
    return list(torch.tensor(sound[: len(sound) // 512 * 512]).view(-1, 512))


def test_the_best_of_all_that_the_package_brings(store: Store, saved: Saver) -> None:
    """And from a folder of the Hub, where only the model's name says what it is."""
    names = ("silero_vad.jit", "silero_vad.onnx", "silero_vad_16k_op15.onnx", "silero_vad_half.onnx")
    saved({f"data/{name}": weights(name) for name in names})
    with load_model(store, "mine") as model:
        assert isinstance(model.model, torch.jit.ScriptModule)
    community = {"onnx/model.onnx": weights("silero_vad.onnx"), "onnx/model_fp16.onnx": b"", "README.md": b"# VAD"}
    saved(community, HUB_NAME)
    with load_model(store, "silero-vad") as model:
        assert model.loader == "silero-vad"
        assert len(model.process_batch([SOUND])[0]) == 1
    saved(community)
    with load_model(store, "mine") as model:
        assert model.loader == "onnx"


def test_other_rates_and_thresholds(store: Store, saved: Saver) -> None:
    saved({"silero_vad.onnx": weights("silero_vad.onnx"), "silero_vad_16k.onnx": weights("silero_vad_16k_op15.onnx")})
    reference = original(onnx=True)
    slow = SOUND[::2].copy()
    for options in ({"sampling_rate": 8000}, {"sampling_rate": 8000, "threshold": 0.9}):
        expected = silero_vad.get_speech_timestamps(torch.tensor(slow), reference, **options)
        with load_model(store, "mine", path="silero_vad.onnx", **options) as model:
            assert model.process_batch([slow]) == [expected]
            assert model(slow[:256]).shape == (1, 1)
    with load_model(store, "mine", path="silero_vad_16k.onnx") as model:
        assert model.model.sample_rates == [16000]
    for rate in (44100, 0, -16000, "16000"):
        with pytest.raises(InvalidInputError, match=f"no sound of {rate!r} Hz") as raised:
            load_model(store, "mine", path="silero_vad.onnx", sampling_rate=rate)
        assert raised.value.remedy == "resample it to 8000 or 16000 Hz"


def test_in_a_process_of_its_own_and_nothing_stays(store: Store, saved: Saver, temporary: Path) -> None:
    saved({"silero_vad.onnx": weights("silero_vad.onnx")})
    expected = silero_vad.get_speech_timestamps(torch.tensor(SOUND), original(onnx=True))
    with load_model(store, "mine", isolated=True) as model, load_model(store, "mine") as here:
        assert model.process_batch([SOUND]) == [expected]
        first = model(SOUND[:512], RATE)
        assert isinstance(first, np.ndarray)
        assert first.tolist() == here(SOUND[:512]).tolist()
    assert list(temporary.iterdir()) == []


def test_the_threads_of_others_stay(store: Store, saved: Saver) -> None:
    """In a process of its own, as it is only the first import that changes them."""
    import subprocess
    import sys

    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from casmodels.loaders.builtin.silero_vad import _silero_vad as package\n"
        "package(); print(torch.get_num_threads())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "2\n"


@pytest.mark.parametrize(
    ("files_", "said", "remedy"),
    [
        ({"silero_vad.jit": b"nothing"}, r"'silero-vad' cannot load silero_vad\.jit of mine@\w{12}: ", "loader="),
        ({"silero_vad.onnx": b"nothing"}, r"'silero-vad' cannot load silero_vad\.onnx of mine@\w{12}: ", "loader="),
        ({"silero_vad.onnx": linear().SerializeToString()}, r"no Silero VAD that .* runs: it takes x$", "'onnx'"),
        ({"silero_vad_half.onnx": None}, "runs: it takes input, state$", "say loader='onnx' for the bare model"),
    ],
)
def test_what_is_none_is_one_sentence(
    store: Store, saved: Saver, files_: dict[str, bytes | None], said: str, remedy: str
) -> None:
    saved({name: weights(name) if data is None else data for name, data in files_.items()})
    with pytest.raises(NotLoadableError, match=said) as raised:
        load_model(store, "mine")
    assert "\n" not in raised.value.message
    assert remedy in (raised.value.remedy or "")


def test_what_it_cannot_do_is_told(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"silero_vad.jit": weights("silero_vad.jit")})
    with pytest.raises(InvalidInputError, match="'silero-vad' has no option 'window'") as raised:
        load_model(store, "mine", window=3)
    assert raised.value.remedy == "it has sampling_rate, threshold"
    with pytest.raises(DeviceError, match="no device 'cuda' here for the loader 'silero-vad'"):
        load_model(store, "mine", device="cuda")
    real = extras.import_module
    monkeypatch.setattr(extras, "import_module", lambda name: real(name if name == "torch" else "no_such_" + name))
    with pytest.raises(MissingExtraError) as missing:
        load_model(store, "mine")
    assert missing.value.remedy == "run `pip install 'casmodels[silero-vad]'`"
