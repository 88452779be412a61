"""What must hold when all have ended."""

from __future__ import annotations

from collections.abc import Iterator

from casmodels.library import Store
from casstore.errors import StoreError
from tests.crash.store_checks import check_one_gc
from tests.torture.groups.concurrency.contents import files_of
from tests.torture.groups.concurrency.records import Told
from tests.torture.groups.concurrency.workers import Place


def what_is_wrong(place: Place, told: Told) -> Iterator[str]:
    """A sentence for everything that does not hold."""
    with place.opened() as store:
        found = {f"{version.name}@{version.version}": version.message for version in store.versions()}
        yield from _missing(found, told)
        yield from _wrong_bytes(store, found)
        yield from (f"verify --data finds {damage}" for damage in store.verify(data=True).damaged)
    try:
        check_one_gc(place.store)
    except AssertionError as error:
        yield f"one gc leaves what is not needed: {error}"
    with place.opened() as store:
        yield from (f"verify --data finds after gc {damage}" for damage in store.verify(data=True).damaged)
        yield from _wrong_bytes(store, found)


def _missing(found: dict[str, str], told: Told) -> Iterator[str]:
    for target, token in told.alive.items():
        if target not in found:
            yield f"{target} was saved and is gone"
        elif found[target] != token:
            yield f"{target} has the message {found[target]!r}, saved was {token!r}"
    for target, token in found.items():
        is_known = target in told.alive or target in told.unsure or target.startswith("first@")
        # One whose writer was killed before it could tell.
        if not is_known and token not in told.tokens:
            yield f"{target} is there and nobody has saved it"
        if not is_known and token in told.saved:
            yield f"{target} is there and was removed"


def _wrong_bytes(store: Store, found: dict[str, str]) -> Iterator[str]:
    for target, token in found.items():
        for path, data in files_of(token).items():
            try:
                if b"".join(store.cat(target, path)) != data:
                    yield f"{path} of {target} has other bytes"
            except StoreError as error:
                yield f"{path} of {target} cannot be read: {error}"
