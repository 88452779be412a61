"""The store of the tests of reading, and the loader of those of isolation, which does what it is told."""

from __future__ import annotations

from tests.models.loaders.test_isolation import _ours_alone  # noqa: F401 a fixture
from tests.models.reading.conftest import saved, store, tmp_path  # noqa: F401 fixtures
