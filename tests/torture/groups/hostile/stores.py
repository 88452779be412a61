"""Stores with settings of their own, whatever those of whoever runs this are."""

from __future__ import annotations

from pathlib import Path

from casmodels import config
from casmodels.library import Store


def open_store(root: Path, **environ: str) -> Store:
    """The store in ``root/store``; its configuration and caches lie beside ``root``."""
    settings = root.with_name(f"{root.name}.toml")
    settings.touch()
    environ = {"CASMODELS_CONFIG": str(settings), "HF_HOME": str(root.with_name(f"{root.name}.hf")), **environ}
    return Store(config=config.load(store=root / "store", environ=environ))
