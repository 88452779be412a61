"""A model that went through the store computes what the original computes: with transformers, offline, from a view."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.minilm import REPO, WEIGHTS

# Prints the embeddings of a few texts, exactly, by the two libraries that people use.
EMBED = """
import json, sys
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer
texts = ["That is a happy person", "That is a very happy person", "Heute ist ein sonniger Tag", ""]
model = sys.argv[1]
tokens = AutoTokenizer.from_pretrained(model)(texts, padding=True, return_tensors="pt")
states = AutoModel.from_pretrained(model)(**tokens).last_hidden_state
sentences = SentenceTransformer(model, device="cpu").encode(texts)
print(json.dumps([states.detach().flatten().tolist(), sentences.flatten().tolist()]))
"""

pytestmark = pytest.mark.torch


def run(arguments: list[str], home: Path, **variables: str) -> str:
    """Standard output of a program that sees nothing of the user's own models and settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **variables}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def casmodels(store: Path, *arguments: str) -> str:
    return run([sys.executable, "-m", "casmodels", "--store", str(store), *arguments], store.parent)


def embeddings(model: str, home: Path, **variables: str) -> list[list[float]]:
    values: list[list[float]] = json.loads(run([sys.executable, "-c", EMBED, model], home, **variables))
    return values


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the real weights in it, under the name that they have on the Hub."""
    assert WEIGHTS.is_dir(), "the weights are missing: run these tests through `make test-torch`"
    store = tmp_path_factory.mktemp("embeddings") / "store"
    casmodels(store, "pull", str(WEIGHTS), "--name", REPO)
    return store


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    return embeddings(str(WEIGHTS), tmp_path_factory.mktemp("original"), HF_HUB_OFFLINE="1")


def test_a_view_gives_the_same_embeddings_offline(store: Path, original: list[list[float]], tmp_path: Path) -> None:
    view = json.loads(casmodels(store, "--json", "view", REPO, "--path", str(tmp_path / "view")))
    found = embeddings(REPO, tmp_path, HF_HOME=view["hf_home"], HF_HUB_OFFLINE="1")
    assert found == original


def test_a_checkout_gives_the_same_embeddings(store: Path, original: list[list[float]], tmp_path: Path) -> None:
    casmodels(store, "checkout", REPO, str(tmp_path / "out"))
    assert embeddings(str(tmp_path / "out"), tmp_path, HF_HUB_OFFLINE="1") == original


def test_a_changed_weight_would_be_noticed(original: list[list[float]], tmp_path: Path) -> None:
    """The comparison above can fail: one flipped low bit in a million weights shows."""
    import shutil

    shutil.copytree(WEIGHTS, tmp_path / "changed")
    weights = tmp_path / "changed" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1_000_000] ^= 0x40
    weights.write_bytes(content)
    assert embeddings(str(tmp_path / "changed"), tmp_path, HF_HUB_OFFLINE="1") != original
