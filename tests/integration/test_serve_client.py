"""The Hub's own client against `casmodels serve`: it must not notice the difference."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels.serve.bodies import Sender
from casmodels.serve.limits import Limits
from casmodels.specs import commit_of
from casstore.digests import git_blob_digest, sha256_digest
from casstore.frames import FrameKind
from casstore.store import Store
from casstore.versions import Version
from tests.models.serve.shelf import Hub, damage_record, hub, put

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4_000_000]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + random.Random(3).randbytes(4_000_000)
FILES = {
    "README.md": b"---\nlicense: mit\npipeline_tag: fill-mask\n---\n# m\n",
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "sub/odd # %20 \u00e9\n.txt": b"odd",
    "empty.txt": b"",
}
Client = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def version(store: Store) -> Version:
    put(store, "org/m", {"old.txt": b"old"}, message="the first", tag="v1")
    return put(store, "org/m", FILES, message="the second")


@pytest.fixture
def served(store: Store, version: Version) -> Iterator[Hub]:
    with hub(store) as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Runs code in a process with the Hub's client; gives what it left in ``result``."""

    def run(served: Hub, code: str) -> Any:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        environment |= {"HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        program = "import json\nfrom huggingface_hub import *\n" + textwrap.dedent(code) + "\nprint(json.dumps(result))"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_its_questions_are_answered(served: Hub, client: Client, version: Version) -> None:
    told = client(
        served,
        """
        api = HfApi()
        info = api.model_info("org/m", files_metadata=True)
        files = {s.rfilename: [s.size, s.blob_id, s.lfs and s.lfs.sha256] for s in info.siblings}
        tree = list(api.list_repo_tree("org/m", recursive=True, expand=True))
        refs = api.list_repo_refs("org/m", include_pull_requests=True)
        old = api.model_info("org/m", revision="v1")
        result = {
            "info": [info.id, info.sha, info.pipeline_tag, info.card_data.license, info.private, info.gated],
            "files": files,
            "tree": {f.path: [f.size, f.blob_id, f.lfs and f.lfs.sha256] for f in tree if hasattr(f, "size")},
            "folders": [f.path for f in tree if not hasattr(f, "size")],
            "refs": [[r.name, r.target_commit] for r in refs.branches + refs.tags],
            "pull_requests": len(refs.pull_requests),
            "paths": [f.path for f in api.get_paths_info("org/m", ["config.json", "sub", "missing"])],
            "commits": [[c.commit_id, c.title] for c in api.list_repo_commits("org/m")],
            "old": [old.sha, [s.rfilename for s in old.siblings]],
            "below": [f.path for f in api.list_repo_tree("org/m", "sub")],
            "exists": [api.repo_exists("org/m"), api.repo_exists("org/n"), api.revision_exists("org/m", "v1"),
                       api.revision_exists("org/m", "v2"), api.file_exists("org/m", "config.json"),
                       api.file_exists("org/m", "config.yaml")],
            "models": [m.id for m in api.list_models(search="m", full=True)],
            "parameters": api.get_safetensors_metadata("org/m").parameter_count,
        }
        """,
    )
    ids = {
        path: [len(content), git_blob_digest(content).hex, None]
        for path, content in FILES.items()
        if path != "model.safetensors"
    }
    pointer = told["files"]["model.safetensors"][1]
    ids["model.safetensors"] = [len(WEIGHTS), pointer, sha256_digest(WEIGHTS).hex]
    first = told["old"][0]
    assert told == {
        "info": ["org/m", commit_of(version), "fill-mask", "mit", False, False],
        "files": ids,
        "tree": ids,
        "folders": ["sub"],
        "refs": [["main", commit_of(version)], ["v1", first]],
        "pull_requests": 0,
        "paths": ["config.json", "sub"],
        "commits": [[commit_of(version), "the second"], [first, "the first"]],
        "old": [first, ["old.txt"]],
        "below": [path for path in FILES if path.startswith("sub/")],
        "exists": [True, False, True, False, True, False],
        "models": ["org/m"],
        "parameters": {"F32": 1_000_000},
    }
    assert served.ranges


def test_it_downloads_everything_once(served: Hub, client: Client, version: Version, tmp_path: Path) -> None:
    code = "result = snapshot_download('org/m')"
    snapshot = Path(client(served, code))
    assert snapshot == tmp_path / "hf/hub/models--org--m/snapshots" / commit_of(version)
    found = {str(path.relative_to(snapshot)): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    assert found == FILES
    blobs = {path.name for path in (tmp_path / "hf/hub/models--org--m/blobs").iterdir()}
    small = {git_blob_digest(content).hex for path, content in FILES.items() if path != "model.safetensors"}
    assert blobs == small | {sha256_digest(WEIGHTS).hex}
    served.requests.clear()
    assert client(served, code) == str(snapshot)
    asked = [request for request in served.requests if request != "GET /api/agent-harnesses"]
    assert asked == ["GET /api/models/org/m/revision/main"]


def test_what_it_downloaded_is_verified(served: Hub, client: Client) -> None:
    sound, broken = client(
        served,
        """
        import contextlib, io, os, sys
        from huggingface_hub.cli.hf import main

        def verify():
            sys.argv = ["hf", "cache", "verify", "org/m"]
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    return main() or 0
                except SystemExit as left:
                    return left.code or 0

        path = snapshot_download("org/m") + "/model.safetensors"
        result = [verify()]
        os.chmod(path, 0o644)
        with open(path, "r+b") as blob:
            blob.seek(1000)
            blob.write(b"broken")
        result.append(verify())
        """,
    )
    assert (sound, broken != 0) == (0, True)


def test_it_downloads_one_file_of_a_tag_and_of_a_commit(served: Hub, client: Client, version: Version) -> None:
    paths = client(
        served,
        f"""
        result = [
            hf_hub_download("org/m", "old.txt", revision="v1"),
            hf_hub_download("org/m", "config.json", revision="{commit_of(version)[:8]}"),
            hf_hub_download("org/m", "odd # %20 \xe9\\n.txt", subfolder="sub"),
        ]
        """,
    )
    assert [Path(path).read_bytes() for path in paths] == [b"old", FILES["config.json"], b"odd"]


def test_it_names_what_is_missing(served: Hub, client: Client, version: Version, tmp_path: Path) -> None:
    names = client(
        served,
        """
        def fails(call, *args, **more):
            try:
                return call(*args, **more)
            except Exception as error:
                return [type(error).__name__, getattr(error, "server_message", None)]
        api = HfApi()
        result = [
            fails(hf_hub_download, "org/missing", "a"),
            fails(hf_hub_download, "org/m", "a", revision="missing"),
            fails(hf_hub_download, "org/m", "missing"),
            fails(snapshot_download, "org/missing"),
            fails(snapshot_download, "org/m", revision="missing"),
            fails(snapshot_download, "org/m", repo_type="dataset"),
            fails(api.list_repo_commits, "org/missing"),
            fails(api.whoami, token="hf_x"),
        ]
        """,
    )
    assert [name for name, _ in names[:7]] == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RepositoryNotFoundError",
        "RepositoryNotFoundError",
    ]
    assert names[0][1] == "the repository 'org/missing' is not in this store"
    assert names[7][0] == "HfHubHTTPError"
    # What does not exist is remembered under the commit that the error named.
    assert (tmp_path / "hf/hub/models--org--m/.no_exist" / commit_of(version) / "missing").exists()


def test_a_damaged_version_is_told_at_once(store: Store, served: Hub, client: Client, version: Version) -> None:
    damage_record(store, FrameKind.VERSION, version.id)
    told = client(
        served,
        """
        def fails(call, *args, **more):
            try:
                return call(*args, **more)
            except Exception as error:
                return f"{error} {error.__cause__}"
        result = [
            open(hf_hub_download("org/m", "old.txt", revision="v1")).read(),
            fails(hf_hub_download, "org/m", "config.json"),
            fails(snapshot_download, "org/m"),
            fails(HfApi().model_info, "org/m"),
        ]
        """,
    )
    assert told[0] == "old"
    for words in told[1:]:
        assert f"org/m@{version.id.hex[:12]} is damaged" in words
    assert served.requests.count("HEAD /org/m/resolve/main/config.json") == 1  # no trying again


def test_it_resumes_where_the_connection_broke(store: Store, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(4).randbytes(16 << 20)
    put(store, "m", {"w.bin": content})
    write, sent = Sender._write, [0]

    async def cut_once(sender: Sender, response: Any, piece: memoryview) -> None:
        # The client writes its file in steps of 10 MiB and keeps no more of a broken answer.
        if 0 <= sent[0] < 12 << 20:
            sent[0] += len(piece)
            await write(sender, response, piece)
        elif sent[0] > 0:
            sent[0] = -1
            raise TimeoutError
        else:
            await write(sender, response, piece)

    monkeypatch.setattr(Sender, "_write", cut_once)
    with hub(store) as served:
        path = client(served, "result = hf_hub_download('m', 'w.bin')")
        assert Path(path).read_bytes() == content
        assert served.ranges == [f"bytes={10 << 20}-"]


def test_a_file_over_its_limit_comes_when_its_size_is_not_told_in_advance(store: Store, client: Client) -> None:
    """The client's limit is 50 GB; here it is lowered instead of making such a file."""
    put(store, "m", {"w.bin": WEIGHTS})
    with hub(store) as telling, hub(store, limits=Limits(no_size_bytes=1_000_000)) as silent:
        refused, path = client(
            telling,
            f"""
            from huggingface_hub import constants
            constants.MAX_HTTP_DOWNLOAD_SIZE = 1_000_000
            try:
                result = [snapshot_download("m")]
            except ValueError as error:
                result = ["too large" in str(error)]
            result.append(snapshot_download("m", endpoint="{silent.url}"))
            """,
        )
    assert refused is True
    assert (Path(path) / "w.bin").read_bytes() == WEIGHTS


def test_its_token_is_checked(store: Store, version: Version, client: Client) -> None:
    with hub(store, token="secret") as served:
        without, wrong, right = client(
            served,
            """
            def ask(token):
                try:
                    return open(hf_hub_download("org/m", "config.json", token=token)).read()
                except Exception as error:
                    return [type(error).__name__, error.response.status_code, error.server_message]
            result = [ask(False), ask("wrong"), ask("secret")]
            """,
        )
    assert without == ["HfHubHTTPError", 401, "this server needs a token: set HF_TOKEN"]
    assert wrong == ["HfHubHTTPError", 401, "Invalid credentials in Authorization header"]
    assert right == '{"model_type": "bert"}'
