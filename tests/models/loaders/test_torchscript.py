"""TorchScript: what the traced module computes."""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable

import pytest

from casmodels.library import Store
from casmodels.loaders import load_model
from tests.models.loaders.test_weights import Recurrent, archive

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]


@pytest.mark.parametrize("file", ["model.pt", "model.ts", "model.pt.gz"])
def test_a_traced_module(store: Store, saved: Saver, file: str) -> None:
    series = torch.randn(5, 7, 3)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated, and that a trace is no proof
        traced = torch.jit.trace(Recurrent().eval(), series)
        torch.jit.save(traced, buffer)
    saved({file: gzip.compress(buffer.getvalue()) if file.endswith(".gz") else buffer.getvalue()})
    with torch.inference_mode():
        expected = traced(series)
    with load_model(store, "mine") as model:
        assert model.loader == "torchscript"
        assert torch.equal(model(series), expected)
        assert torch.allclose(model.process_batch(series, batch_size=2), expected, atol=1e-6)


def test_weights_are_not_taken_for_it(store: Store, saved: Saver) -> None:
    saved({"model.pt": archive(Recurrent().state_dict())})
    with load_model(store, "mine") as model:
        assert model.loader == "weights"
