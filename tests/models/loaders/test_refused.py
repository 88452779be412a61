"""What is not loaded says why, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model

Saver = Callable[..., str]


@pytest.mark.parametrize("file", ["forest.joblib", "m.pkl", "m.PICKLE", "m.pkl.gz"])
def test_pickles_name_the_sandbox(store: Store, saved: Saver, file: str) -> None:
    saved({file: b"\x80\x04N."})
    with pytest.raises(UnsafeModelError, match="is a pickle: to load it would execute code") as raised:
        load_model(store, "mine")
    assert file in raised.value.message
    assert "sandbox" in (raised.value.remedy or "")


@pytest.mark.parametrize("name", ["refused", "nosuch"])
def test_what_refuses_is_no_loader_that_can_be_named(store: Store, saved: Saver, name: str) -> None:
    saved({"forest.joblib": b"\x80\x04N."})
    with pytest.raises(NotLoadableError, match=f"there is no loader '{name}'") as raised:
        load_model(store, "mine", loader=name)
    assert "sklearn" in (raised.value.remedy or "")
    assert "refused" not in (raised.value.remedy or "")


@pytest.mark.parametrize("file", ["llama-7b.ggml", "ggml-model-q4_0.bin"])
def test_ggml_is_refused_with_advice(store: Store, saved: Saver, file: str) -> None:
    saved({file: b"tjgg"})
    with pytest.raises(NotLoadableError, match="came before GGUF") as raised:
        load_model(store, "mine")
    assert "convert" in (raised.value.remedy or "")
    assert b"".join(store.cat("mine", file)) == b"tjgg"
