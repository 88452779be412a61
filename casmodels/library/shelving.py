"""Views by category: which model goes where, under which name, and the lists that lie beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casmodels.configs.download_list import HUGGINGFACE, DownloadEntry, download_list_bytes
from casmodels.configs.folders import CONFIGS, DOWNLOAD_LIST, MODEL_CONFIGS, folder_of
from casmodels.configs.model_configs import ModelConfig, model_configs_bytes, read_model_configs
from casmodels.configs.names import is_name
from casmodels.library.context import Context
from casmodels.library.model_types import type_of
from casmodels.library.names import Found, find
from casmodels.library.pulling_hub import checksum_candidates
from casmodels.library.viewing import view_result
from casmodels.progress import Progress
from casmodels.results import ViewResult
from casmodels.specs import ModelType, parse_model_type
from casmodels.views.categories import CategoryView, Shelved
from casmodels.views.checkouts import Checkout
from casmodels.views.materialise import LinkMode
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import InvalidInputError, NotFoundError
from casstore.index.places import PlaceKind
from casstore.refs import RefKind
from casstore.trees import Tree

CATEGORIES = "categories"
"""The layout's name."""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that is here, what it does, and what it is called in the view."""

    found: Found
    tree: Tree
    short_name: str
    type: ModelType | None

    @property
    def is_from_hub(self) -> bool:
        """Whether it was pulled from the Hub."""
        return self.found.version.metadata.get("kind") == "hub"


def view_categories(context: Context, directory: Path, *, link: str, progress: Progress | None) -> ViewResult:
    """Bring a view to all that is here. Raises as `CategoryView.bring`, and ConfigurationError for the configurations
    there."""
    engine = context.engine()
    view = CategoryView(directory, context.path, engine.places)
    view.check()
    configured = _configured(directory / CONFIGS / MODEL_CONFIGS)
    with engine.reading() as reader:
        models = _models(context, reader, configured)
        shelved = [
            Shelved(
                Checkout(model.found.name, model.found.id, model.tree, kind=PlaceKind.CATEGORY),
                folder_of(model.type),
                model.short_name,
                model.is_from_hub,
            )
            for model in models
        ]
        kept = view.bring(reader, shelved, _configs(models), link=LinkMode(link), progress=progress)
    # The configurations are there to be edited, so that they were is no news.
    edited = str(view.directory / CONFIGS / MODEL_CONFIGS)
    return _result(context, view, link, tuple(path for path in kept if path != edited))


def remove_categories(context: Context, directory: Path) -> ViewResult:
    """Take away what the store made in a view. Raises NotFoundError when that is nothing."""
    engine = context.engine()
    with engine.reading():
        view = CategoryView(directory, context.path, engine.places)
        removed = view.remove()
    return replace(_result(context, view, "copy", removed.kept), exports={})


def _result(context: Context, view: CategoryView, link: str, kept: tuple[str, ...]) -> ViewResult:
    folders = view.models()
    return replace(
        view_result(context, view.hub_view, link=link, kept=kept),
        models=tuple(sorted(folders)),
        views_bytes=view.size_bytes,
        layout=CATEGORIES,
        path=str(view.directory),
        folders=folders,
    )


def _configured(path: Path) -> Mapping[str, ModelConfig]:
    try:
        return read_model_configs(path)
    except NotFoundError:
        return {}


def _models(context: Context, reader: Reader, configured: Mapping[str, ModelConfig]) -> list[_Model]:
    """Every model's newest version. A type that the user has configured counts more than what anybody else says."""
    registry = context.registry
    names = list(dict.fromkeys(ref.key.name for ref in reader.refs(RefKind.VERSION)))
    models = []
    for name, short_name in _short_names(context, names).items():
        found = find(reader, registry, name)
        metadata = found.version.metadata
        known = type_of(metadata, registry.of_repo(metadata.get("repo") or name))
        config = configured.get(short_name, ModelConfig())
        model_type = config.type or (_known_type(known) if known is not None else None)
        models.append(_Model(found, reader.tree(found.version.tree), short_name, model_type))
    return models


def _known_type(text: str) -> ModelType | None:
    """None for a type that a newer release may know."""
    try:
        return parse_model_type(text)
    except InvalidInputError:
        return None


def _short_names(context: Context, names: Sequence[str]) -> dict[str, str]:
    """What models are called in the view: as the registry has it, else the last part of the name. Where that is the
    same for several, whatever its case, it is the whole name with a dot for the slash.

    Raises InvalidInputError when two are called the same all the same.
    """
    short: dict[str, str] = {}
    for name in names:
        spec = context.registry.of_repo(name) if "/" in name else None
        short[name] = spec.id if spec is not None else name.rpartition("/")[2]
    alike: dict[str, list[str]] = defaultdict(list)
    for name, short_name in short.items():
        alike[short_name.casefold()].append(name)
    long = {name for those in alike.values() if len(those) > 1 for name in those if "/" in name}
    result = {name: name.replace("/", ".") if name in long else short_name for name, short_name in short.items()}
    taken: dict[str, str] = {}
    for name, short_name in result.items():
        other = taken.setdefault(short_name.casefold(), name)
        if other != name:
            raise InvalidInputError(
                f"{name!r} and {other!r} would have one directory, {short_name!r}", remedy="rename one of them"
            )
    return result


def _configs(models: Sequence[_Model]) -> dict[str, bytes]:
    """A list that brings in again what can be, as it is here; and configurations that say nothing yet."""
    entries = [entry for model in models if (entry := _entry(model)) is not None]
    configs = {model.short_name: ModelConfig() for model in models if is_name(model.short_name)}
    return {DOWNLOAD_LIST: download_list_bytes(entries), MODEL_CONFIGS: model_configs_bytes(configs)}


def _entry(model: _Model) -> DownloadEntry | None:
    version, tree = model.found.version, model.tree
    if model.type is None or not is_name(model.short_name):
        return None
    size_mb = round(tree.size_bytes / 1e6, 3)
    if version.metadata.get("kind") == "url":
        checksum = Digest.parse(str(version.metadata.get("checksum")))
        return DownloadEntry(
            model.short_name, model.type, "url", url=version.source, size_mb=size_mb, checksum=checksum
        )
    repo = version.metadata.get("repo")
    if not model.is_from_hub or not isinstance(repo, str):
        return None
    files = tuple(entry.path for entry in tree.files)
    candidates = checksum_candidates(files)
    return DownloadEntry(
        name=model.short_name,
        type=model.type,
        source=HUGGINGFACE,
        repo=repo,
        revision=version.revision,
        files=files,
        size_mb=size_mb,
        checksum=tree.by_path[candidates[0]].blob if len(candidates) == 1 else None,
    )
