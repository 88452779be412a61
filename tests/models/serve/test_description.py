"""The OpenAPI document says what the server answers, and all of it: none may change without the other."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import casmodels.serve
from casmodels.serve.app import DESCRIPTION
from casmodels.serve.routes import Endpoint, Place, read_path
from casstore.store import Store
from tests.models.serve.shelf import Hub, hub, put

DOCUMENT: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
VALUES = {"repo": "org/m", "revision": "refs/pr/1", "folder": "a b", "path": "a b/c%.bin"}
METHODS = ("get", "head", "post")
ASKING = {"one", "all", "flag"}


def operations() -> list[tuple[str, str]]:
    return [(method, path) for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item]


def resolved(value: Any) -> Any:
    """What a reference within the document stands for."""
    while "$ref" in value:
        reference: list[str] = value["$ref"].removeprefix("#/").split("/")
        value = DOCUMENT
        for part in reference:
            value = value[part]
    return value


def filled(path: str, safe: str = "") -> str:
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=safe))
    return path


def calls(name: str) -> Iterator[ast.Call]:
    """Every call in the server's code of what has that name."""
    for file in Path(casmodels.serve.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)) == name:
                    yield node


@pytest.fixture(scope="module")
def filled_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Store.open(tmp_path_factory.mktemp("described") / "store", create=True) as store:
        files = {"a b/c%.bin": b"weights", "README.md": b"# m"}
        put(store, "org/m", files, metadata={"requested_revision": "refs/pr/1", "revision": "0123456789" * 4})
        with hub(store, metrics=True) as running:
            yield running


def test_every_endpoint_is_described_and_no_other() -> None:
    places = {path for path in DOCUMENT["paths"] if "{" not in path}
    assert places == set(Place)
    endpoints = [[route.endpoint for route in read_path(filled(path))] for path in DOCUMENT["paths"].keys() - places]
    assert {found[-1] for found in endpoints} == set(Endpoint)


@pytest.mark.parametrize("safe", ["", "/"], ids=["slashes encoded", "slashes plain"])
@pytest.mark.parametrize(("method", "path"), operations())
def test_every_operation_is_answered(filled_hub: Hub, method: str, path: str, safe: str) -> None:
    # A revision's slashes are always encoded.
    target = filled(path.replace("{revision}", quote(VALUES["revision"], safe="")), safe)
    operation = DOCUMENT["paths"][path][method]
    reply = filled_hub.ask(target, method.upper(), b"paths=README.md" if method == "post" else None)
    assert reply.status == (401 if path == Place.WHOAMI else 200)
    described = resolved(operation["responses"][str(reply.status)])
    kinds = described.get("content", {"*/*": {}})
    assert reply.headers.get_content_type() in kinds or "*/*" in kinds
    for name, header in described.get("headers", {}).items():
        assert name in reply.headers or not resolved(header).get("required")
    if method == "get" and "head" not in DOCUMENT["paths"][path]:
        head = filled_hub.ask(target, "HEAD")
        assert (head.status, head.body, head.headers.keys()) == (reply.status, b"", reply.headers.keys())


def test_every_parameter_is_described_and_no_other() -> None:
    read = {
        node.args[0].value
        for asking in ASKING
        for node in calls(asking)
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    described = set()
    for method, path in operations():
        operation = DOCUMENT["paths"][path][method]
        named = [*map(resolved, operation.get("parameters", []))]
        described |= {parameter["name"] for parameter in named if parameter["in"] == "query"}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            described |= content["schema"]["properties"].keys()
    assert described == read


def test_every_error_is_described_and_no_other() -> None:
    codes = {node.args[1].value for node in calls("RefusalError") if isinstance(node.args[1], ast.Constant)}
    assert sorted(DOCUMENT["components"]["headers"]["X-Error-Code"]["schema"]["enum"]) == sorted(codes)
    statuses = {str(node.args[0].value) for node in calls("RefusalError") if isinstance(node.args[0], ast.Constant)}
    ways = [way for path in DOCUMENT["paths"].values() for way in path.values() if isinstance(way, dict)]
    # 405 is for methods that the document does not name.
    assert statuses - {"405"} <= {status for way in ways for status in way["responses"]}


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    text = DESCRIPTION.read_text()
    parts = {
        f"#/components/{kind}/{name}"
        for kind, named in DOCUMENT["components"].items()
        for name in named
        if kind != "securitySchemes"
    }
    used = {line.split('"')[0] for line in text.split('"$ref": "')[1:]}
    assert used == parts


def test_the_document_is_served_as_it_is(store: Store) -> None:
    with hub(store, token="secret") as served:
        assert served.ask(Place.DESCRIPTION).error == (401, "Unauthorized")
        reply = served.ask(Place.DESCRIPTION, Authorization="Bearer secret")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.body == DESCRIPTION.read_bytes()
