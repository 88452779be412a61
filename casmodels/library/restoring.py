"""Versions out again: as plain directories."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from casmodels.library.context import Context
from casmodels.library.names import find
from casmodels.library.origins import SINGLE_FILE, origin_of
from casmodels.progress import Progress
from casmodels.results import CheckoutResult
from casmodels.views.checkouts import Checkout
from casmodels.views.checkouts import checkout as check_out
from casstore.errors import NotFoundError


def checkout(
    context: Context,
    target: str,
    directory: Path | None,
    *,
    force: bool,
    include: Sequence[str],
    progress: Progress | None,
) -> CheckoutResult:
    """Bring a directory (``./NAME`` unless given) to a version. Raises as `casmodels.views.checkouts.checkout`."""
    engine = context.engine()
    with engine.reading() as reader:
        found = find(reader, context.registry, target)
        wanted = Checkout(found.name, found.id, reader.tree(found.version.tree), tuple(include))
        if include and not any(wanted.takes(entry.path) for entry in wanted.tree):
            raise NotFoundError(f"no path of {found.name} matches --include", remedy=f"see `casmodels ls {target}`")
        place = directory if directory is not None else Path(found.name.rpartition("/")[2])
        return check_out(reader, engine.places, engine.path, wanted, place, force=force, progress=progress)


def restore(context: Context, target: str, *, force: bool, progress: Progress | None) -> CheckoutResult:
    """Bring the place that a version was taken from back to it. Raises InvalidInputError for a pulled model."""
    engine = context.engine()
    with engine.reading() as reader:
        found = find(reader, context.registry, target)
        place = origin_of(found)
        include: tuple[str, ...] = ()
        was_file = bool(found.version.metadata.get(SINGLE_FILE))
        if was_file:
            # What else lies in its directory is none of this version's business.
            place, include = place.parent, (escape(place.name),)
        was_known = engine.places.load(place) is not None
        wanted = Checkout(found.name, found.id, reader.tree(found.version.tree), include)
        result = check_out(reader, engine.places, engine.path, wanted, place, force=force, progress=progress)
        if was_file and not was_known:
            # Else the next checkpoint of the name would take the whole directory.
            engine.places.forget(place)
        return result


def restore_plan(context: Context, target: str) -> str:
    """One sentence that says what `restore` would do."""
    with context.engine().reading() as reader:
        found = find(reader, context.registry, target)
        files = len(reader.tree(found.version.tree).files)
        return f"{origin_of(found)} is brought to {found.name}@{found.id.hex[:12]} ({files} files)"
