"""The JSON endpoints."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit

import pytest

from casmodels.registry import Registry
from casmodels.specs import commit_of
from casstore.digests import git_blob_digest, sha256_digest
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from tests.models.serve.shelf import NOON_NS, Hub, hub, put

CARD = b"---\nlicense: mit\npipeline_tag: fill-mask\nlibrary_name: transformers\ntags: [a]\n---\n# m\n"
FILES = {
    "README.md": CARD,
    "config.json": b'{"model_type": "bert", "architectures": ["BertModel"], "secret": 1}',
    "model.safetensors": b"weights",
    "onnx/model.onnx": b"graph",
}
UPSTREAM = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


def test_a_model_is_described(store: Store, served: Hub) -> None:
    version = put(store, "org/m", FILES, metadata={"revision": UPSTREAM})
    reply = served.ask("/api/models/org/m")
    info = reply.json
    assert (info["id"], info["sha"], info["author"]) == ("org/m", UPSTREAM, "org")
    assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
    assert info["lastModified"] == info["createdAt"] == "2023-11-14T22:13:20.000Z"
    assert info["siblings"] == [{"rfilename": path} for path in sorted(FILES)]
    assert info["tags"] == ["transformers", "bert", "fill-mask", "a", "license:mit"]
    assert (info["pipeline_tag"], info["library_name"]) == ("fill-mask", "transformers")
    assert info["cardData"]["license"] == "mit"
    assert info["config"] == {"architectures": ["BertModel"], "model_type": "bert"}
    assert reply.headers["X-Repo-Commit"] == commit_of(version) == UPSTREAM


def test_metadata_of_the_version_goes_before_its_card(store: Store, served: Hub) -> None:
    told = {"pipeline_tag": "text-generation", "library_name": "x", "tags": ["from", "upstream"]}
    put(store, "m", FILES, metadata=told)
    info = served.ask("/api/models/m").json
    assert (info["pipeline_tag"], info["library_name"], info["tags"]) == ("text-generation", "x", ["from", "upstream"])


def test_blobs_tell_sizes_and_ids(store: Store, served: Hub) -> None:
    put(store, "m", {"a.txt": b"text", "b.bin": b"weights"})
    assert served.ask("/api/models/m?blobs=true").json["siblings"] == [
        {"rfilename": "a.txt", "size": 4, "blobId": git_blob_digest(b"text").hex},
        {
            "rfilename": "b.bin",
            "size": 7,
            "blobId": served.ask("/api/models/m/tree/main").json[1]["oid"],
            "lfs": {"sha256": sha256_digest(b"weights").hex, "size": 7, "pointerSize": 126},
        },
    ]


def test_expand_gives_the_named_fields_only(store: Store, served: Hub) -> None:
    put(store, "m", FILES)
    info = served.ask("/api/models/m?expand=sha&expand=siblings&expand=nonsense").json
    assert set(info) == {"id", "modelId", "sha", "siblings"}
    assert set(served.ask("/api/models/m?expand[]=usedStorage").json) == {"id", "modelId", "usedStorage"}


def test_revisions(store: Store, served: Hub) -> None:
    first = put(store, "m", {"a": b"1"}, tag="v1/rc")
    second = put(store, "m", {"a": b"2"}, created_ns=NOON_NS + 5_000_000_000)
    pulled = put(store, "m", {"a": b"3"}, metadata={"requested_revision": "refs/pr/1"})

    def sha(revision: str) -> str:
        return str(served.ask(f"/api/models/m/revision/{revision}").json["sha"])

    assert sha("main") == commit_of(second)
    assert sha("v1%2Frc") == sha(commit_of(first)) == sha(first.id.hex) == sha(first.id.hex[:8]) == commit_of(first)
    assert sha("refs%2Fpr%2F1") == commit_of(pulled)
    info = served.ask("/api/models/m").json
    assert (info["createdAt"], info["lastModified"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:25.000Z")


def test_ids_with_and_without_a_slash(store: Store, served: Hub) -> None:
    put(store, "gpt2", {"a": b"1"})
    put(store, "gpt2/refs", {"b": b"2"})
    assert served.ask("/api/models/gpt2").json["siblings"] == [{"rfilename": "a"}]
    assert served.ask("/api/models/gpt2%2Frefs").json["siblings"] == [{"rfilename": "b"}]
    assert served.ask("/api/models/gpt2/refs/refs").json["branches"]
    assert served.ask("/api/models/gpt2/revision/main").json["id"] == "gpt2"


def test_an_alias_is_answered_as_what_it_stands_for(store: Store) -> None:
    put(store, "sentence-transformers/all-MiniLM-L6-v2", {"config.json": b"{}"})
    with hub(store, registry=Registry()) as served:
        info = served.ask("/api/models/ada-002").json
        assert info["id"] == "sentence-transformers/all-MiniLM-L6-v2"
        assert info["pipeline_tag"] == "feature-extraction"
        assert served.ask("/ada-002/resolve/main/config.json").body == b"{}"
        assert served.ask("/api/models/mpnet-base").error == (404, "RepoNotFound")


def test_the_tree(store: Store, served: Hub) -> None:
    put(store, "m", FILES)
    tree = served.ask("/api/models/m/tree/main").json
    assert [(entry["type"], entry["path"]) for entry in tree] == [
        ("file", "README.md"),
        ("file", "config.json"),
        ("file", "model.safetensors"),
        ("directory", "onnx"),
    ]
    assert tree[0] == {"type": "file", "path": "README.md", "size": len(CARD), "oid": git_blob_digest(CARD).hex}
    assert tree[2]["lfs"] == {"oid": sha256_digest(b"weights").hex, "size": 7, "pointerSize": 126}
    recursive = served.ask("/api/models/m/tree/main?recursive=True&expand=true").json
    assert [entry["path"] for entry in recursive][-2:] == ["onnx", "onnx/model.onnx"]
    assert set(recursive[0]["lastCommit"]) == {"id", "title", "date"}
    below = served.ask("/api/models/m/tree/main/onnx").json
    assert [entry["path"] for entry in below] == ["onnx/model.onnx"]


def test_no_answer_speaks_of_xet(store: Store, served: Hub) -> None:
    put(store, "m", FILES)
    for path in ("/api/models/m?blobs=true", "/api/models/m/tree/main?recursive=true&expand=true"):
        assert b"xet" not in served.ask(path).body.lower()
    for method in ("HEAD", "GET"):
        headers = served.ask("/m/resolve/main/model.safetensors", method).headers
        assert "xet" not in str(headers).lower()


def test_a_long_tree_comes_in_pages_of_one_commit(store: Store, served: Hub) -> None:
    paths = [f"{number:02}/é #%20" for number in range(11)]
    put(store, "m", dict.fromkeys(paths, b""))
    found: list[str] = []
    path, pages = "/api/models/m/tree/main?recursive=true&limit=5", 0
    while path:
        reply = served.ask(path)
        found += [entry["path"] for entry in reply.json if entry["type"] == "file"]
        link = re.fullmatch(r'<(http://[^>]*)>; rel="next"', reply.headers.get("Link", ""))
        path = ""
        if link is not None:
            assert link[1].startswith(served.url)
            path = urlsplit(link[1]).path + "?" + urlsplit(link[1]).query
        pages += 1
        if pages == 1:
            put(store, "m", {"new": b""})
    assert (found, pages) == (paths, 5)


def test_a_page_of_a_folder_leads_to_the_next(store: Store, served: Hub) -> None:
    put(store, "m", {f"a b/c\udcff/{number}": b"" for number in range(3)})
    reply = served.ask("/api/models/m/tree/main/a%20b%2Fc%FF?limit=2")
    link = urlsplit(reply.headers["Link"][1 : reply.headers["Link"].index(">")])
    assert [entry["path"] for entry in served.ask(f"{link.path}?{link.query}").json] == ["a b/c\udcff/2"]


def test_the_proxys_scheme_goes_into_links(store: Store, served: Hub) -> None:
    put(store, "m", {"a": b"", "b": b""})
    reply = served.ask("/api/models/m/tree/main?limit=1", X_Forwarded_Proto="https")
    assert reply.headers["Link"].startswith("<https://127.0.0.1:")


def test_refs(store: Store, served: Hub) -> None:
    first = put(store, "m", {"a": b"1"}, tag="v1")
    pulled = put(store, "m", {"a": b"3"}, metadata={"requested_revision": "refs/pr/1"})
    branch = put(store, "m", {"a": b"4"}, metadata={"requested_revision": "dev"})
    newest = put(store, "m", {"a": b"2"})
    refs = served.ask("/api/models/m/refs?include_prs=1").json
    assert refs == {
        "branches": [
            {"name": "main", "ref": "refs/heads/main", "targetCommit": commit_of(newest)},
            {"name": "dev", "ref": "refs/heads/dev", "targetCommit": commit_of(branch)},
        ],
        "converts": [],
        "tags": [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": commit_of(first)}],
        "pullRequests": [{"name": "refs/pr/1", "ref": "refs/pr/1", "targetCommit": commit_of(pulled)}],
    }
    assert "pullRequests" not in served.ask("/api/models/m/refs").json


def test_commits(store: Store, served: Hub) -> None:
    first = put(store, "m", {"a": b"1"}, message="one <b>\n\nmore", tag="v1")
    second = put(store, "m", {"a": b"2"}, source="hf://org/m")
    third = put(store, "m", {"a": b"3"})
    commits = served.ask("/api/models/m/commits/main?expand[]=formatted").json
    assert [commit["id"] for commit in commits] == [commit_of(third), commit_of(second), commit_of(first)]
    assert commits[2]["title"] == "one <b>"
    assert commits[2]["message"] == "more"
    assert commits[2]["formatted"]["title"] == "one &lt;b&gt;"
    assert commits[1]["title"] == "From hf://org/m"
    assert "somebody" not in commits[0]["title"]
    assert [author["user"] for author in commits[0]["authors"]] == ["casmodels"]
    assert [commit["id"] for commit in served.ask("/api/models/m/commits/v1").json] == [commit_of(first)]
    page = served.ask("/api/models/m/commits/main?limit=2")
    link = urlsplit(page.headers["Link"][1 : page.headers["Link"].index(">")])
    assert [commit["id"] for commit in served.ask(f"{link.path}?{link.query}").json] == [commit_of(first)]


def test_paths_info(store: Store, served: Hub) -> None:
    put(store, "m", {**FILES, "a b/é\udcff": b"x"})
    form = urlencode(
        {"paths": ["config.json", "onnx", "missing", "a b/é\udcff"], "expand": "False"},
        doseq=True,
        errors="surrogateescape",
    ).encode()
    kind = "application/x-www-form-urlencoded"
    reply = served.ask("/api/models/m/paths-info/main", "POST", form, Content_Type=kind)
    assert [(entry["type"], entry["path"]) for entry in reply.json] == [
        ("file", "config.json"),
        ("directory", "onnx"),
        ("file", "a b/é\udcff"),
    ]
    assert "lastCommit" not in reply.json[0]
    assert "lastCommit" in served.ask("/api/models/m/paths-info/main", "POST", b"paths=onnx&expand=true").json[0]


def test_the_list_of_models(store: Store, served: Hub) -> None:
    put(store, "org/bert-small", FILES)
    put(store, "org/gpt", {"a": b""}, created_ns=NOON_NS + 1_000_000_000)
    put(store, "bert", {"a": b""}, created_ns=NOON_NS + 2_000_000_000)

    def ids(query: str) -> list[str]:
        return [model["id"] for model in served.ask(f"/api/models?{query}").json]

    assert ids("") == ["bert", "org/gpt", "org/bert-small"]
    assert ids("search=BERT") == ["bert", "org/bert-small"]
    assert ids("author=org") == ["org/gpt", "org/bert-small"]
    assert ids("filter=license:mit&filter=bert") == ["org/bert-small"]
    assert ids("pipeline_tag=fill-mask") == ["org/bert-small"]
    assert ids("sort=createdAt&direction=1&limit=1") == ["org/bert-small"]
    page = served.ask("/api/models?limit=2")
    link = urlsplit(page.headers["Link"][1 : page.headers["Link"].index(">")])
    assert [model["id"] for model in served.ask(f"{link.path}?{link.query}").json] == ["org/bert-small"]
    assert "siblings" not in page.json[0]
    assert served.ask("/api/models?full=True").json[0]["siblings"] == [{"rfilename": "a"}]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/api/models/missing", (404, "RepoNotFound")),
        ("/api/models/org/missing/tree/main", (404, "RepoNotFound")),
        ("/api/datasets/m", (404, "RepoNotFound")),
        ("/api/spaces/m/refs", (404, "RepoNotFound")),
        ("/datasets/m/resolve/main/a", (404, "RepoNotFound")),
        ("/missing/resolve/main/a", (404, "RepoNotFound")),
        ("/api/models/m/revision/dev", (404, "RevisionNotFound")),
        ("/api/models/m/tree/dev", (404, "RevisionNotFound")),
        ("/m/resolve/dev/a", (404, "RevisionNotFound")),
        ("/m/resolve/main/missing", (404, "EntryNotFound")),
        ("/m/resolve/main/", (404, "EntryNotFound")),
        ("/m/resolve/main/../../m/resolve/main/a", (404, "EntryNotFound")),
        ("/m/resolve/main/..%2Fa", (404, "EntryNotFound")),
        ("/m/resolve/main/d", (404, "EntryNotFound")),
        ("/api/models/m/tree/main/missing", (404, "EntryNotFound")),
        ("/api/models/m/tree/main/a", (404, "EntryNotFound")),
        ("/api/models/m/tree/main?limit=0", (400, "BadRequest")),
        ("/api/models/m/tree/main?limit=x", (400, "BadRequest")),
        ("/api/models/m/tree/main?cursor=%C3%A9", (400, "BadRequest")),
        ("/api/models/m/commits/main?cursor=x", (400, "BadRequest")),
        ("/api/whoami-v2", (401, "Unauthorized")),
        ("/api/telemetry/x/y", (404, "NotFound")),
        ("/api/agent-harnesses", (404, "NotFound")),
        ("/api/models/m/discussions", (404, "RepoNotFound")),
        ("/api/models/org/m/discussions", (404, "NotFound")),
        ("/favicon.ico", (404, "NotFound")),
    ],
)
def test_refusals(store: Store, served: Hub, path: str, error: tuple[int, str]) -> None:
    version = put(store, "m", {"a": b"", "d/e": b""})
    for method in ("GET", "HEAD"):
        reply = served.ask(path, method)
        assert reply.error == error
        if error[1] == "EntryNotFound":
            assert reply.headers["X-Repo-Commit"] == commit_of(version)


def test_an_odd_name_in_a_message_breaks_no_header(store: Store, served: Hub) -> None:
    put(store, "m", {"a": b""})
    reply = served.ask("/m/resolve/main/a%0D%0AX-Evil:%201%FF%C3%A9")
    assert reply.error == (404, "EntryNotFound")
    assert "X-Evil" not in reply.headers
    assert r"a\r\nX-Evil: 1\udcff\xe9" in reply.headers["X-Error-Message"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"])
def test_nothing_can_be_written(store: Store, served: Hub, method: str) -> None:
    put(store, "m", {"a": b""})
    reply = served.ask("/api/models/m/commit/main", method, b"{}")
    assert reply.error == (405, "MethodNotAllowed")
    assert reply.headers["Allow"] == "GET, HEAD"
    if method != "POST":
        assert served.ask("/api/models/m/paths-info/main", method).headers["Allow"] == "GET, HEAD, POST"


def test_changes_are_seen_at_the_next_request(store: Store, served: Hub) -> None:
    assert served.ask("/api/models/m").error == (404, "RepoNotFound")
    first = put(store, "m", {"a": b"1"})
    assert served.ask("/m/resolve/main/a").body == b"1"
    put(store, "m", {"a": b"2"})
    assert served.ask("/m/resolve/main/a").body == b"2"
    with store.writing() as tx:
        tx.set_ref(RefKey(RefKind.VERSION, "m", first.id.hex), None)
        tx.commit()
    assert served.ask(f"/m/resolve/{first.id.hex}/a").error == (404, "RevisionNotFound")


def test_the_page_for_people(store: Store, served: Hub) -> None:
    assert b"None yet" in served.ask("/").body
    put(store, "org/m", {"a": b"x" * 2000})
    reply = served.ask("/")
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'<a href="/api/models/org/m">org/m</a>' in reply.body
    assert b"2.0 KiB" in reply.body
    assert served.ask("/healthz").body == b"ok\n"
