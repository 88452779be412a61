"""The example of docs/quantise.md runs, on real weights, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casmodels.library import PullOptions, Store
from tests.examples import examples_of
from tests.minilm import WEIGHTS

pytest.importorskip("torchao")
pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.torch


def test_the_example(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    store.pull([str(WEIGHTS)], PullOptions(name="sentence-transformers/all-MiniLM-L6-v2"))
    (example,) = examples_of("docs/quantise.md")
    exec(example, {})
    assert re.fullmatch(r"int8 \(3, 384\) 0\.99\d+\n", capsys.readouterr().out)
    (version,) = store.versions("ada-002-int8")
    assert version.quantised is not None
    assert version.quantised.parent == store.contents("ada-002").target
