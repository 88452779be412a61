"""The store of the tests of reading, and an environment that says nothing of GPUs and batches."""

from __future__ import annotations

from tests.models.loaders.conftest import _no_settings, saved, shelf, store, tmp_path  # noqa: F401 fixtures
