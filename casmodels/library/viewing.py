"""Views: Hub caches of what is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from casmodels.library.context import Context
from casmodels.library.names import find, stored_name
from casmodels.progress import Progress, SilentProgress
from casmodels.results import CleanupResult, ViewResult
from casmodels.specs import commit_of, parse_versioned
from casmodels.views import sweeps
from casmodels.views.hub_cache import HubView
from casmodels.views.layout import SNAPSHOTS
from casmodels.views.materialise import LinkMode
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.index.places import PlaceKind, Places
from casstore.refs import RefKind
from casstore.store import Store as Engine


def view(
    context: Context,
    models: Sequence[str],
    path: Path | None,
    *,
    all_models: bool,
    link: str,
    progress: Progress | None,
) -> ViewResult:
    """Add versions to a Hub cache. Raises as `find` and `HubView.add`."""
    engine = context.engine()
    with engine.reading() as reader:
        if all_models:
            models = list(dict.fromkeys(ref.key.name for ref in reader.refs(RefKind.VERSION)))
        found = [find(reader, context.registry, model) for model in models]
        hub_view = _hub_view(context, path)
        wanted = [(one.name, one.id) for one in found]
        added = hub_view.add(reader, wanted, link=LinkMode(link), progress=progress)
    return view_result(context, hub_view, link=added.link.value, kept=added.kept)


def remove_view(context: Context, models: Sequence[str], path: Path | None) -> ViewResult:
    """Take models, or all that the store put there, out of a Hub cache; what others made stays."""
    engine = context.engine()
    with engine.reading():
        hub_view = _hub_view(context, path)
        names = [_name_in(hub_view, context, model) for model in models]
        swept = sweeps.remove_models(hub_view, engine.places, names)
    return view_result(context, hub_view, kept=swept.kept)


def show_view(context: Context, path: Path | None) -> ViewResult:
    """What a Hub cache holds, and how to use it."""
    return view_result(context, _hub_view(context, path))


def path_of(context: Context, target: str) -> str:
    """The snapshot directory of a version in the store's own view, made if needed."""
    return make_snapshot(context, context.engine(), target, SilentProgress())


def make_snapshot(context: Context, engine: Engine, target: str, progress: Progress) -> str:
    """As `path_of`, by the threads of that engine."""
    with engine.reading() as reader:
        found = find(reader, context.registry, target)
        view = HubView(context.view_path, context.path, engine.places)
        (snapshot,) = view.add(reader, [(found.name, found.id)], progress=progress).snapshots
    return str(snapshot.path)


def snapshot_in_view(places: Places, reader: Reader, name: str, digest: Digest) -> str | None:
    """Where a version's snapshot lies in the newest view that has it; None when none has."""
    commit = commit_of(reader.version(digest))
    for place in places.all(PlaceKind.VIEW, name):
        snapshot = Path(place.path) / SNAPSHOTS / commit
        if snapshot.is_dir():
            return str(snapshot)
    return None


def drop_unused(context: Context, days: int, *, dry_run: bool) -> CleanupResult:
    """Take out of all views what was not used for so many days."""
    return sweeps.drop_unused(context.engine().places, days, dry_run=dry_run)


def clean(context: Context, *, dry_run: bool) -> CleanupResult:
    """Remove from all views the temporary files that casmodels left there."""
    return sweeps.cleanup(context.engine().places, dry_run=dry_run)


def _name_in(hub_view: HubView, context: Context, model: str) -> str:
    """The name that a model has in a view, whether or not the store still has it."""
    name = parse_versioned(model).name
    return name if name in hub_view.models() else stored_name(context.registry, name)


def _hub_view(context: Context, path: Path | None) -> HubView:
    return HubView(path or context.view_path, context.path, context.engine().places)


def view_result(context: Context, hub_view: HubView, *, link: str = "copy", kept: tuple[str, ...] = ()) -> ViewResult:
    """What there is to say of a Hub view."""
    token_file = context.config.token_file
    exports = hub_view.exports(
        token_file if token_file.is_file() else None, over_hub_cache=context.config.hub_cache_is_set
    )
    return ViewResult(
        hf_home=str(hub_view.home),
        models=hub_view.models(),
        views_bytes=hub_view.size_bytes,
        exports=exports,
        link=link,
        kept=kept,
    )
