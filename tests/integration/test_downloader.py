"""A newcomer's five lines: from a name to an embedding, with a model that came through the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import examples_of
from tests.hub import FakeHub
from tests.minilm import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
REPO = "sentence-transformers/all-MiniLM-L6-v2"
EXAMPLES = examples_of("README.md")
ORIGINAL = "from sentence_transformers import SentenceTransformer; path = {path!r}"
SHOW = """
import json
print(json.dumps(SentenceTransformer(str(path), device="cpu").encode("a sentence").tolist()))
"""

pytestmark = pytest.mark.torch


def run(script: str, home: Path, **variables: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **variables}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_the_readmes_five_lines_give_the_originals_embedding(tmp_path: Path) -> None:
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    (example,) = [one for one in EXAMPLES if "SentenceTransformer" in one]
    assert len([line for line in example.splitlines() if line]) == 5
    files = {path.relative_to(WEIGHTS).as_posix(): path.read_bytes() for path in WEIGHTS.rglob("*") if path.is_file()}
    with FakeHub() as hub:
        hub.add(REPO, files)
        lines = run(example + "\npath = result.path" + SHOW, tmp_path, HF_ENDPOINT=hub.url)
    assert lines[0] == "(384,)"
    expected = run(ORIGINAL.format(path=str(WEIGHTS)) + SHOW, tmp_path, HF_HUB_OFFLINE="1")
    assert lines[1:] == expected
    assert len(json.loads(expected[0])) == 384
