"""GGUF: what the gguf package wrote is what it reads from the store; llama.cpp gets a path with the same bytes."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import gguf
import numpy as np
import pytest

from casmodels.errors import NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from tests.models.reading.weights import normal

Saver = Callable[..., str]


def gguf_file(path: Path) -> bytes:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(7)
    writer.add_tensor("token_embd.weight", normal(32, 64))
    writer.add_tensor("blk.0.weight", normal(8, 256, seed=2, dtype="float16"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_metadata_and_tensors(store: Store, saved: Saver, tmp_path: Path, zipped: bool) -> None:
    data = gguf_file(tmp_path / "written.gguf")
    saved({"model.gguf.gz": gzip.compress(data)} if zipped else {"model.gguf": data})
    with load_model(store, "mine") as model:
        assert model.loader == "gguf"
        reader = model.model
        assert reader.fields["llama.block_count"].contents() == 7
        found = {tensor.name: tensor.data for tensor in reader.tensors}
        assert np.array_equal(found["token_embd.weight"], normal(32, 64))
        assert np.array_equal(found["blk.0.weight"], normal(8, 256, seed=2, dtype="float16"))
        with pytest.raises(NotLoadableError, match="cannot be called"):
            model("Once upon a time")


def test_what_is_no_gguf_is_one_sentence(store: Store, saved: Saver) -> None:
    saved({"model.gguf": b"GGML is not GGUF"})
    with pytest.raises(NotLoadableError, match=r"'gguf' cannot load model\.gguf of mine@\w{12}: GGUF magic invalid"):
        load_model(store, "mine")


def test_llama_cpp_gets_the_path_of_a_memory_file(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp has to be compiled, so a stand-in takes its place here."""
    opened: dict[str, Any] = {}

    class Llama:
        def __init__(self, model_path: str, **options: Any) -> None:
            opened.update(options, bytes=Path(model_path).read_bytes(), link=Path(model_path).readlink())

        def __call__(self, prompt: str) -> dict[str, str]:
            return {"text": prompt + "!"}

        def close(self) -> None:
            opened["closed"] = True

    module = ModuleType("llama_cpp")
    module.__spec__ = ModuleSpec("llama_cpp", None)
    module.Llama, module.llama_supports_gpu_offload = Llama, lambda: False  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    data = gguf_file(tmp_path / "written.gguf")
    saved({"model.gguf": data})
    with load_model(store, "mine", n_ctx=64) as model:
        assert model.loader == "llama-cpp"
        assert model.process_batch(["a", "b"], batch_size=1) == [{"text": "a!"}, {"text": "b!"}]
    assert opened["bytes"] == data
    assert opened["link"].is_relative_to("/proc/self/fd")
    assert (opened["n_ctx"], opened["n_gpu_layers"], opened["closed"]) == (64, 0, True)
