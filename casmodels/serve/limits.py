"""How much of the server one guest, or all together, can take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes.

    ``bodies`` are sent at once, the next wait up to ``turn_seconds``: the client gives up when nothing has come after
    10 s. ``stall_seconds`` is how long a guest may take for one slice: a body holds memory and the store's lease.
    ``ahead_bytes`` may be decoded ahead by all bodies together. ``form_bytes`` has room for 50,000 paths.
    ``no_size_bytes``: the client refuses to fetch a larger file over plain HTTP when HEAD told its size, but not when
    HEAD told none.
    """

    bodies: int = 128
    turn_seconds: float = 5.0
    stall_seconds: float = 60.0
    ahead_bytes: int = 96 * 1024 * 1024
    form_bytes: int = 4 * 1024 * 1024
    form_seconds: float = 30.0
    no_size_bytes: int = 50_000_000_000
