"""Damage done to a store on purpose."""

from __future__ import annotations

from casmodels.library import Store


def flip_packs(store: Store) -> None:
    """Flip a bit in the middle of every pack: with one large file in the store, in a chunk of its."""
    for pack in (store.directory / "packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(bytes(data))
