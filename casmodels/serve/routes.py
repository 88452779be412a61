"""From a raw request path to what it asks for.

Paths are matched raw and each segment is decoded once: a revision arrives as ``refs%2Fpr%2F1``, and a file
may have ``%20`` in its name. Bytes that are no UTF-8 become lone surrogates, as everywhere in casmodels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote

_KINDS = ("models", "datasets", "spaces")


class Endpoint(StrEnum):
    """What is asked of a repository."""

    INFO = "info"
    TREE = "tree"
    PATHS_INFO = "paths-info"
    REFS = "refs"
    COMMITS = "commits"
    RESOLVE = "resolve"


class Place(StrEnum):
    """What is asked of the server itself, by its raw path."""

    PAGE = "/"
    HEALTH = "/healthz"
    DESCRIPTION = "/.well-known/openapi.json"
    MODELS = "/api/models"
    DATASETS = "/api/datasets"
    SPACES = "/api/spaces"
    WHOAMI = "/api/whoami-v2"
    METRICS = "/metrics"


@dataclass(frozen=True, slots=True)
class Route:
    """One way to read a path. ``kind`` is models, datasets or spaces; ``path`` is within the repository."""

    endpoint: Endpoint
    kind: str
    repo: str
    revision: str = "main"
    path: str = ""


def read_path(raw: str) -> list[Route]:
    """The ways to read a raw path, the one with the longer repository id first; none: no such endpoint.

    Ids have one or two segments, so ``/api/models/a/refs`` may be the refs of ``a`` or the model ``a/refs``.
    """
    segments = raw.split("/")[1:]
    if segments[:1] == ["api"]:
        kind, rest, read = "".join(segments[1:2]), segments[2:], _read_api
        if kind not in _KINDS:
            return []
    else:
        kind, rest, read = "models", segments, _read_download
        if segments and segments[0] in _KINDS:
            kind, rest = segments[0], segments[1:]
    found = []
    for length in (2, 1):
        repo = "/".join(decode(segment) for segment in rest[:length])
        if len(rest) >= length and repo.strip("/"):
            route = read(kind, repo, rest[length:])
            if route is not None:
                found.append(route)
    return found


def _read_api(kind: str, repo: str, rest: list[str]) -> Route | None:
    match rest:
        case []:
            return Route(Endpoint.INFO, kind, repo)
        case ["refs"]:
            return Route(Endpoint.REFS, kind, repo)
        case ["revision", revision]:
            return Route(Endpoint.INFO, kind, repo, decode(revision))
        case ["commits", revision]:
            return Route(Endpoint.COMMITS, kind, repo, decode(revision))
        case ["paths-info", revision]:
            return Route(Endpoint.PATHS_INFO, kind, repo, decode(revision))
        case ["tree", revision, *path]:
            return Route(Endpoint.TREE, kind, repo, decode(revision), _joined(path).strip("/"))
    return None


def _read_download(kind: str, repo: str, rest: list[str]) -> Route | None:
    match rest:
        case ["resolve", revision, _, *_]:
            return Route(Endpoint.RESOLVE, kind, repo, decode(revision), _joined(rest[2:]))
    return None


def decode(segment: str) -> str:
    """Undo percent-encoding once."""
    return unquote(segment, errors="surrogateescape")


def encode(text: str) -> str:
    """Percent-encode a text, slashes too: the inverse of `decode`."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _joined(segments: list[str]) -> str:
    return "/".join(decode(segment) for segment in segments)
