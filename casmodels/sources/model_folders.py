"""A folder of models that another program kept: which directories in it are models, and of which Hub ids.

Known are Hub caches (``models--org--name/snapshots/<commit>``), at the top or under ``hub``, and directories that are
called after a registered model (``ada-002``) or a Hub id, whose ``/`` may be ``--``, ``_`` or a directory in another.
Nothing is read but names and refs, nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from casmodels.registry import Registry
from casmodels.revisions import MAIN
from casmodels.sources.local import refuse_overlap
from casmodels.sources.weights import format_of
from casmodels.specs import is_commit
from casstore.errors import FailedError, InvalidInputError, NotFoundError
from casstore.refs import check_name

_REPO: Final = re.compile(r"(models|datasets|spaces|kernels)--(.+)")
_MOST_REF_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """A directory that is a model; ``commit`` is known of a Hub cache's snapshot, ``revision`` is its branch or tag."""

    path: Path
    repo: str
    commit: str | None = None
    revision: str = MAIN


@dataclass(frozen=True, slots=True)
class OtherEntry:
    """Something that is not taken for a model, and why."""

    path: Path
    reason: str


Found: TypeAlias = ModelDirectory | OtherEntry


def find_models(folder: Path, registry: Registry, *, outside: Sequence[Path] = ()) -> list[Found]:
    """Everything in a folder, by name; of one model's snapshots, that of its main branch last.

    No place of ``outside`` (the store, its view) may lie in it, nor it in one of them. Raises NotFoundError,
    InvalidInputError, FailedError for a folder that cannot be read.
    """
    top = _expanded(folder)
    if not _is_directory(top):
        if not os.path.lexists(top):
            raise NotFoundError(f"{top} does not exist", remedy="name the folder that the models are in")
        raise InvalidInputError(f"{top} is not a folder of models", remedy="name the folder that the models are in")
    for place in outside:
        try:
            refuse_overlap(top, place)
        except InvalidInputError:
            raise InvalidInputError(
                f"{top} holds, or lies in, this store's own {place}", remedy="use a store that lies elsewhere"
            ) from None
    children = _children(top)
    if not children:
        raise InvalidInputError(f"{top} is empty", remedy="name the folder that the models are in")
    found: list[Found] = []
    for child in children:
        try:
            found += _top_entry(child, registry)
        except FailedError as error:
            found.append(OtherEntry(child, error.message))
    return found


def _top_entry(child: Path, registry: Registry) -> Iterator[Found]:
    if not _is_directory(child):
        yield OtherEntry(child, "it is a file, and models are directories")
    elif _REPO.match(child.name):
        yield from _cached_repo(child)
    elif _holds_model(child):
        yield _named(child, registry)
    else:
        yield from _nested(child)


def _nested(directory: Path) -> Iterator[Found]:
    """What is in a directory that is no model itself: an organisation's models, or a Hub cache (``hub``)."""
    children = _children(directory)
    models = [child for child in children if _holds_model(child)]
    repos = [child for child in children if _REPO.match(child.name) and _is_directory(child)]
    if not models and not repos:
        yield _other(directory)
        return
    for child in children:
        if child in repos:
            yield from _cached_repo(child)
        elif child in models:
            yield _of_hub_id(child, f"{directory.name}/{child.name}")
        else:
            yield _other(child)


def _named(directory: Path, registry: Registry) -> Found:
    """A model's directory, by its name: that of a registered model, or a Hub id."""
    name = directory.name
    by_name = {spec.huggingface_id.replace("/", "_").casefold(): spec.huggingface_id for spec in registry}
    spec = registry.find(name)
    repo = spec.huggingface_id if spec is not None else by_name.get(name.casefold())
    if repo is not None:
        return ModelDirectory(directory, repo)
    for slash in ("--", "_"):
        if name.count(slash) == 1:
            return _of_hub_id(directory, name.replace(slash, "/"))
    return OtherEntry(
        directory, "its name is neither a registered model's nor a Hub id; `casmodels pull DIR --name NAME` takes it in"
    )


def _of_hub_id(directory: Path, repo: str) -> Found:
    try:
        return ModelDirectory(directory, check_name(repo))
    except InvalidInputError as error:
        return OtherEntry(directory, error.message)


def _cached_repo(directory: Path) -> Iterator[Found]:
    """The snapshots of one repository of a Hub cache."""
    match = _REPO.match(directory.name)
    assert match is not None
    if match[1] != "models":
        yield OtherEntry(directory, f"it is one of the Hub's {match[1]}, not a model")
        return
    snapshots = [child for child in _children(directory / "snapshots") if is_commit(child.name)]
    branches = _refs(directory / "refs")
    if not branches and len(snapshots) == 1:
        branches = {snapshots[0].name: MAIN}
    if not snapshots:
        yield OtherEntry(directory, "it has no snapshot")
    for snapshot in sorted(snapshots, key=lambda one: (branches.get(one.name) == MAIN, one.stat().st_mtime_ns)):
        commit = snapshot.name
        found = _of_hub_id(snapshot, match[2].replace("--", "/"))
        if not _holds_model(snapshot):
            yield _other(snapshot)
        elif isinstance(found, OtherEntry):
            yield found
        else:
            yield ModelDirectory(snapshot, found.repo, commit, branches.get(commit, commit))


def _refs(directory: Path) -> dict[str, str]:
    """The branch or tag of each commit that has one; `main` before others."""
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        with contextlib.suppress(OSError, ValueError):
            if path.is_file() and path.stat().st_size <= _MOST_REF_BYTES:
                commit, name = path.read_text("ascii").strip(), path.relative_to(directory).as_posix()
                if is_commit(commit) and found.get(commit) != MAIN:
                    found[commit] = name
    return found


def _holds_model(directory: Path) -> bool:
    """Whether a configuration or weights lie in it."""
    if not _is_directory(directory):
        return False
    names = {child.name for child in _children(directory)}
    return "config.json" in names or any(format_of(name, names) is not None for name in names)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a folder that may not be entered
        return False


def _other(path: Path) -> OtherEntry:
    return OtherEntry(path, "it holds no config.json and no weights")


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir(), key=lambda child: os.fsencode(child.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FailedError(f"{directory} cannot be read: {error.strerror}", remedy="make it readable") from error


def _expanded(folder: Path) -> Path:
    try:
        return Path.cwd() / folder.expanduser()
    except RuntimeError as error:
        raise InvalidInputError(f"{str(folder)!r} names no user's home directory") from error
