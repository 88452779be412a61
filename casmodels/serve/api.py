"""The JSON endpoints: what each one answers, without a word of HTTP."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from casmodels.listings import Listing
from casmodels.serve import describe
from casmodels.serve.catalogue import Catalogue
from casmodels.serve.page import Row
from casmodels.serve.refusals import RefusalError, entry_not_found
from casmodels.serve.repos import Repo
from casmodels.serve.routes import Endpoint, Route, encode
from casstore.catalog import Reader
from casstore.errors import DamagedError, NotFoundError
from casstore.store import Store
from casstore.trees import path_bytes
from casstore.versions import Version

PAGE: Final = 1000
"""Entries to a page at most, as on the Hub."""
_MAX_FIELDS: Final = 100_000
_TRUE = ("true", "1", "yes", "")


class Fields:
    """What a query string or a form says."""

    def __init__(self, encoded: str) -> None:
        """Raises RefusalError for more fields than anybody needs."""
        try:
            self._pairs = parse_qsl(
                encoded, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FIELDS
            )
        except ValueError as error:
            raise RefusalError(400, "BadRequest", "the query has too many fields") from error

    def all(self, name: str) -> list[str]:
        """Every value of a field, also written ``name[]``."""
        return [value for key, value in self._pairs if key in (name, f"{name}[]")]

    def one(self, name: str) -> str | None:
        """A field's last value."""
        values = self.all(name)
        return values[-1] if values else None

    def flag(self, name: str) -> bool:
        """Whether a field is there and true."""
        value = self.one(name)
        return value is not None and value.lower() in _TRUE

    def without(self, name: str) -> list[tuple[str, str]]:
        """All fields but those of one name."""
        return [(key, value) for key, value in self._pairs if key != name]

    def page(self) -> int:
        """How many entries are wanted at once. Raises RefusalError."""
        limit = self.one("limit")
        if limit is None:
            return PAGE
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) > 0):
            raise RefusalError(400, "BadRequest", f"the limit {limit!r} is no positive number")
        return min(int(limit), PAGE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON document; the commit that it speaks of; and where the next page is, below the server's root."""

    document: bytes
    commit: str | None = None
    next_page: str | None = None


class Api:
    """Answers from a store. Its methods block: they run in worker threads, each under a lease of its own."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def repo(self, routes: list[Route], query: Fields, form: Fields | None = None) -> Answer:
        """An endpoint of one repository; ``form`` is the body of a POST. Raises RefusalError or StoreError."""
        with self._store.reading() as reader:
            route, repo = self._catalogue.choose(reader, routes)
            if route.endpoint is Endpoint.REFS:
                return _answer(describe.refs(repo, pull_requests=query.flag("include_prs")))
            version = repo.find(route.revision)
            match route.endpoint:
                case Endpoint.INFO:
                    return self._info(reader, repo, version, query)
                case Endpoint.TREE:
                    return self._tree(self._catalogue.listing(reader, version), repo, route.path, query)
                case Endpoint.PATHS_INFO:
                    return _paths_info(self._catalogue.listing(reader, version), form or query)
                case Endpoint.COMMITS:
                    return _commits(repo, version, query)
        raise AssertionError("files are not answered here")

    def models(self, query: Fields) -> Answer:
        """The models: newest first, narrowed by ``search``, ``author``, ``filter`` and ``pipeline_tag``."""
        with self._store.reading() as reader:
            found = []
            for name in self._catalogue.names(reader):
                repo = self._catalogue.repo(reader, name)
                if repo is not None and repo.shown is not None:
                    shown = self._model(reader, repo, repo.shown)
                    if _is_wanted(shown, query):
                        found.append((shown, repo.shown))
            key = "createdAt" if query.one("sort") == "createdAt" else "lastModified"
            found.sort(key=lambda pair: str(pair[0][key]), reverse=query.one("direction") != "1")
            start, size = _offset(query), query.page()
            page = [self._with_files(reader, shown, version, query) for shown, version in found[start : start + size]]
            more = start + size < len(found)
            return _answer(page, next_page=_next("/api/models", query, str(start + size)) if more else None)

    def names(self) -> list[Row]:
        """For people: a row for each model."""
        with self._store.reading() as reader:
            repos = [self._catalogue.repo(reader, name) for name in self._catalogue.names(reader)]
            return [_row(reader, repo) for repo in repos if repo is not None]

    def _info(self, reader: Reader, repo: Repo, version: Version, query: Fields) -> Answer:
        listing = self._catalogue.listing(reader, version)
        about = self._catalogue.about(reader, version)
        base = self._model(reader, repo, version)
        expand = frozenset(name for value in query.all("expand") for name in value.split(","))
        info = describe.model_info(base, listing, about, blobs=query.flag("blobs"), expand=expand)
        return _answer(info, commit=listing.commit)

    def _model(self, reader: Reader, repo: Repo, version: Version) -> dict[str, Any]:
        about = self._catalogue.about(reader, version)
        return describe.model(repo, version, about, self._catalogue.spec(repo.name))

    def _with_files(self, reader: Reader, shown: dict[str, Any], version: Version, query: Fields) -> dict[str, Any]:
        if not (query.flag("full") or "siblings" in query.all("expand")):
            return shown
        try:
            listing = self._catalogue.listing(reader, version)
        except (DamagedError, NotFoundError):
            return shown  # who asks for this model hears of it; the others are listed
        return shown | {"siblings": [describe.sibling(file, blobs=False) for file in listing.files.values()]}

    def _tree(self, listing: Listing, repo: Repo, folder: str, query: Fields) -> Answer:
        if folder and folder not in listing.folders:
            raise entry_not_found(repo.name, listing.commit, folder)
        prefix = f"{folder}/" if folder else ""
        recursive, expand = query.flag("recursive"), query.flag("expand")
        paths = sorted(
            (
                path
                for path in (*listing.files, *listing.folders)
                if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
            ),
            key=path_bytes,
        )
        cursor, size = query.one("cursor"), query.page()
        start = bisect_right(paths, _read_cursor(cursor), key=path_bytes) if cursor is not None else 0
        page = paths[start : start + size]
        next_page = None
        if start + size < len(paths):
            # The commit, not the revision: a page belongs to the one before, though `main` may have moved.
            here = f"/api/models/{repo.name}/tree/{listing.commit}" + (f"/{encode(folder)}" if folder else "")
            next_page = _next(here, query, urlsafe_b64encode(path_bytes(page[-1])).decode("ascii"))
        return _answer(_entries(listing, page, expand), commit=listing.commit, next_page=next_page)


def _row(reader: Reader, repo: Repo) -> Row:
    try:
        tree = reader.tree(repo.main.tree)
        return Row(repo.name, describe.moment(repo.main.created_ns), len(tree.files), tree.size_bytes)
    except (RefusalError, DamagedError, NotFoundError):
        return Row(repo.name, None, 0, 0)


def _paths_info(listing: Listing, form: Fields) -> Answer:
    wanted = [path.strip("/") for path in form.all("paths")]
    known = [path for path in dict.fromkeys(wanted) if path in listing.files or path in listing.folders]
    return _answer(_entries(listing, known, form.flag("expand")), commit=listing.commit)


def _commits(repo: Repo, version: Version, query: Fields) -> Answer:
    history = repo.history(version)
    start, size = _offset(query), query.page()
    formatted = "formatted" in query.all("expand")
    more = start + size < len(history)
    here = f"/api/models/{repo.name}/commits/{version.id.hex}"
    return _answer(
        describe.commits(history[start : start + size], formatted=formatted),
        next_page=_next(here, query, str(start + size)) if more else None,
    )


def _entries(listing: Listing, paths: Sequence[str], expand: bool) -> list[dict[str, Any]]:
    return [
        describe.tree_file(listing.files[path], listing, expand=expand)
        if path in listing.files
        else describe.tree_folder(path, listing, expand=expand)
        for path in paths
    ]


def _is_wanted(shown: dict[str, Any], query: Fields) -> bool:
    """Whether a model is among those that a list asks for."""
    name, tags = shown["id"].casefold(), shown["tags"]
    search, author, task = query.one("search"), query.one("author"), query.one("pipeline_tag")
    return (
        all(word in name for word in (search or "").casefold().split())
        and (author is None or shown["author"] == author)
        and (task is None or shown.get("pipeline_tag") == task)
        and all(tag in tags for value in query.all("filter") for tag in value.split(","))
    )


def _offset(query: Fields) -> int:
    cursor = query.one("cursor")
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise RefusalError(400, "BadRequest", "this server gave no such cursor")
    return int(cursor)


def _read_cursor(cursor: str) -> bytes:
    try:
        return urlsafe_b64decode(cursor)
    except (Base64Error, ValueError) as error:
        raise RefusalError(400, "BadRequest", "this server gave no such cursor") from error


def _next(path: str, query: Fields, cursor: str) -> str:
    fields = [*query.without("cursor"), ("cursor", cursor)]
    return f"{path}?{urlencode(fields, errors='surrogateescape')}"


def _answer(value: object, commit: str | None = None, next_page: str | None = None) -> Answer:
    return Answer(json.dumps(value, separators=(",", ":")).encode("ascii"), commit, next_page)
