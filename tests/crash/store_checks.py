"""What must hold in a store's directory after commands that were cut short."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from casmodels.library import Store
from casstore.maintenance.gc import collect
from casstore.packs import list_packs


def check_versions(directory: Path, expected: Mapping[str, Mapping[str, str]]) -> None:
    """Every version that was finished before (name@id to path to SHA-256) is there to the byte, and nothing is wrong
    anywhere."""
    with Store(directory) as store:
        here = {f"{version.name}@{version.version}" for version in store.versions()}
        assert expected.keys() <= here, f"versions are gone: {expected.keys() - here}"
        for target, paths in expected.items():
            for path, digest in paths.items():
                found = sha256(b"".join(store.cat(target, path))).hexdigest()
                assert found == digest, f"{target} {path} has other bytes"
        damaged = store.verify(data=True).damaged
        assert not damaged, damaged


def check_one_gc(directory: Path) -> None:
    """One gc takes everything that the store does not need."""
    with Store(directory) as store:
        store.gc()
    check_collected(directory)


def check_collected(directory: Path) -> None:
    """After one gc there is no file that the store does not need."""
    with Store(directory) as store:
        engine = store._context.engine()
        layout = engine.layout
        assert set(list_packs(layout.packs)) == engine.engine.ledger.rows.pack_ids(), "packs that do not count"
        left = [path for path in layout.packs.iterdir() if path.suffix != ".pack"]
        left += [*layout.downloads.iterdir(), *layout.leases.iterdir()]
        assert not left, f"these are left: {left}"
        again = collect(engine.engine)
        assert (again.packs, again.chunks) == (0, 0), "one gc did not take everything"
