"""Raw paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casmodels.serve.routes import Endpoint, Route, decode, encode, read_path


@pytest.mark.parametrize(
    ("raw", "route"),
    [
        ("/api/models/gpt2", Route(Endpoint.INFO, "models", "gpt2")),
        ("/api/models/org/name", Route(Endpoint.INFO, "models", "org/name")),
        ("/api/models/org%2Fname", Route(Endpoint.INFO, "models", "org/name")),
        ("/api/datasets/org/name/refs", Route(Endpoint.REFS, "datasets", "org/name")),
        ("/api/models/gpt2/revision/refs%2Fpr%2F1", Route(Endpoint.INFO, "models", "gpt2", "refs/pr/1")),
        ("/api/models/a/b/tree/main", Route(Endpoint.TREE, "models", "a/b")),
        ("/api/models/a/b/tree/v1/x%2Fy", Route(Endpoint.TREE, "models", "a/b", "v1", "x/y")),
        ("/api/models/a/b/tree/v1/x/y", Route(Endpoint.TREE, "models", "a/b", "v1", "x/y")),
        ("/api/models/a/b/commits/main", Route(Endpoint.COMMITS, "models", "a/b")),
        ("/api/models/a/b/paths-info/main", Route(Endpoint.PATHS_INFO, "models", "a/b")),
        ("/gpt2/resolve/main/a.txt", Route(Endpoint.RESOLVE, "models", "gpt2", "main", "a.txt")),
        ("/a/b/resolve/main/x/y", Route(Endpoint.RESOLVE, "models", "a/b", "main", "x/y")),
        ("/spaces/a/b/resolve/main/x", Route(Endpoint.RESOLVE, "spaces", "a/b", "main", "x")),
        ("/gpt2/resolve/main/a%2520b", Route(Endpoint.RESOLVE, "models", "gpt2", "main", "a%20b")),
        ("/gpt2/resolve/main/a%FF", Route(Endpoint.RESOLVE, "models", "gpt2", "main", "a\udcff")),
    ],
)
def test_an_endpoint_is_read(raw: str, route: Route) -> None:
    assert route in read_path(raw)


def test_an_ambiguous_path_gives_both_readings_the_longer_id_first() -> None:
    assert read_path("/api/models/a/refs") == [
        Route(Endpoint.INFO, "models", "a/refs"),
        Route(Endpoint.REFS, "models", "a"),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        *("/", "//", "/api", "/api/", "/api/models", "/api/models/", "/api/models//", "/gpt2", "/gpt2/resolve/main"),
        *("/a/b/c/resolve/main/x", "/api/telemetry/x", "/api/buckets/a/b", "/api/models/a/b/c/d"),
        *("/resolve/main/x", "/a/resolve", "", "*"),
    ],
)
def test_what_is_no_endpoint_is_not_read(raw: str) -> None:
    assert read_path(raw) == []


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_every_name_goes_through_an_address_and_back(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    assert decode(encode(name)) == name
    assert encode(name).isascii()
