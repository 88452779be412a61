"""What the store holds, in the Hub's terms: read anew for each request, but for what cannot change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from casmodels.listings import Listing, read_listing
from casmodels.registry import Registry
from casmodels.serve.cards import MAX_CARD_BYTES, plain, read_card
from casmodels.serve.memo import Memo
from casmodels.serve.refusals import repo_not_found
from casmodels.serve.repos import Repo, read_repo
from casmodels.serve.routes import Route
from casmodels.specs import ModelSpec
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import IntegrityError, NotFoundError
from casstore.refs import RefKind
from casstore.trees import Tree
from casstore.versions import Version

_MAX_LISTED: Final = 200_000
"""Files and folders in all the listings that are kept: some 100 MB."""
_MAX_CONFIG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class About:
    """What a version's own small files say of it: the model card's fields and those of `config.json`."""

    card: dict[str, Any]
    config: dict[str, Any]


class Catalogue:
    """Finds repositories and versions. Safe for threads; keeps only what is named by its digest."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry
        self._versions: Memo[Digest, Version] = Memo(10_000)
        self._listings: Memo[Digest, Listing] = Memo(_MAX_LISTED, _weight)
        self._abouts: Memo[Digest, About] = Memo(1000)

    def names(self, reader: Reader) -> list[str]:
        """The names that have a version."""
        return sorted({ref.key.name for ref in reader.refs(RefKind.VERSION)})

    def repo(self, reader: Reader, name: str) -> Repo | None:
        """What the store holds under a name of its own."""
        return read_repo(reader, name, lambda digest: self._versions.get(digest, lambda: reader.version(digest)))

    def choose(self, reader: Reader, routes: list[Route]) -> tuple[Route, Repo]:
        """Of several ways to read a path, the first whose repository is there.

        An id that is no name of the store may be an alias or an id of the registry. Raises RefusalError.
        """
        for route in routes:
            if route.kind == "models":
                repo = self.repo(reader, route.repo) or self._by_alias(reader, route.repo)
                if repo is not None:
                    return route, repo
        raise repo_not_found(routes[-1].repo)

    def listing(self, reader: Reader, version: Version) -> Listing:
        """A version's files and folders. Raises DamagedError or NotFoundError."""
        return self._listings.get(version.id, lambda: read_listing(reader, version))

    def spec(self, name: str) -> ModelSpec | None:
        """The registered model of that Hub id."""
        return self._registry.of_repo(name) if self._registry is not None else None

    def about(self, reader: Reader, version: Version) -> About:
        """What the version's README.md and config.json say; damaged or missing ones say nothing."""
        try:
            return self._abouts.get(version.tree, lambda: _read_about(reader, reader.tree(version.tree)))
        except (IntegrityError, NotFoundError):
            return About({}, {})

    def _by_alias(self, reader: Reader, name: str) -> Repo | None:
        spec = self._registry.find(name) if self._registry is not None else None
        return self.repo(reader, spec.huggingface_id) if spec is not None else None


def _weight(listing: Listing) -> int:
    return 1 + len(listing.files) + len(listing.folders)


def _read_about(reader: Reader, tree: Tree) -> About:
    card = read_card(_head(reader, tree, "README.md", MAX_CARD_BYTES))
    return About(card, _read_config(_head(reader, tree, "config.json", _MAX_CONFIG_BYTES)))


def _head(reader: Reader, tree: Tree, path: str, limit_bytes: int) -> str:
    """The beginning of a text file; empty when there is none."""
    entry = tree.by_path.get(path)
    if entry is None or entry.blob is None:
        return ""
    return reader.open_blob(entry.blob).read_at(0, limit_bytes).decode("utf-8", "replace")


def _read_config(text: str) -> dict[str, Any]:
    """Of a `config.json` what the Hub shows: the architectures and the type."""
    try:
        config = json.loads(text)
        if not isinstance(config, dict):
            return {}
        return {key: plain(config[key]) for key in ("architectures", "model_type") if key in config}
    except (ValueError, RecursionError):
        return {}
