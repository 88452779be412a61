"""`casmodels serve`: the Hub's read API over a store. Needs the extra ``serve`` (aiohttp)."""

from __future__ import annotations

from importlib.util import find_spec

from casmodels.errors import MissingExtraError

if find_spec("aiohttp") is None:
    raise MissingExtraError("serve")
