"""The store of the tests of reading, and an environment that says nothing of GPUs and batches."""

from __future__ import annotations

import pytest

from tests.minilm import shelf  # noqa: F401 a fixture
from tests.models.reading.conftest import saved, store, temporary, tmp_path  # noqa: F401 fixtures


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("USE_GPU", "BATCH_SIZE"):
        monkeypatch.delenv(variable, raising=False)
