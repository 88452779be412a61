"""all-MiniLM-L6-v2 in NumPy: a BERT encoder with mean pooling, enough to prove that weights arrived whole.

`python -m demo.encoder REPO TEXT TEXT…` finds the model as any program that uses the Hub's client would, computes the
embedding of each text and prints how near each one is to the first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Array = NDArray[np.float32]
MAX_TOKENS = 32


class Encoder:
    """A sentence encoder read from a model directory."""

    def __init__(self, directory: Path) -> None:
        config: dict[str, Any] = json.loads((directory / "config.json").read_text())
        self.layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self.tensors = load_file(directory / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> Array:
        """One unit vector for each text."""
        inner, residual, mask = self.last_layer_input(texts)
        return normalise(pool(self._layer_output(self.layers - 1, inner, residual), mask))

    def last_layer_input(self, texts: list[str]) -> tuple[Array, Array, Array]:
        """What the last matrix of the network sees: its input, what is added to its output, and the mask of tokens."""
        encodings = self._tokenizer.encode_batch(texts)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.float32)[:, :, None]
        states = self._embeddings(np.array([encoding.ids for encoding in encodings]))
        for layer in range(self.layers):
            inner, residual = self._layer(layer, states, mask)
            if layer < self.layers - 1:
                states = self._layer_output(layer, inner, residual)
        return inner, residual, mask

    def _layer_output(self, layer: int, inner: Array, residual: Array) -> Array:
        name = f"encoder.layer.{layer}.output"
        return self._norm(f"{name}.LayerNorm", self._linear(f"{name}.dense", inner) + residual)

    def _embeddings(self, ids: NDArray[np.int64]) -> Array:
        table = self.tensors
        states = table["embeddings.word_embeddings.weight"][ids]
        states = states + table["embeddings.position_embeddings.weight"][: ids.shape[1]]
        return self._norm("embeddings.LayerNorm", states + table["embeddings.token_type_embeddings.weight"][0])

    def _layer(self, layer: int, states: Array, mask: Array) -> tuple[Array, Array]:
        name = f"encoder.layer.{layer}"
        attended = self._linear(f"{name}.attention.output.dense", self._attend(name, states, mask))
        residual = self._norm(f"{name}.attention.output.LayerNorm", attended + states)
        return _gelu(self._linear(f"{name}.intermediate.dense", residual)), residual

    def _attend(self, name: str, states: Array, mask: Array) -> Array:
        batch, length, width = states.shape

        def heads(role: str) -> Array:
            projected = self._linear(f"{name}.attention.self.{role}", states)
            apart: Array = projected.reshape(batch, length, self._heads, -1)
            return apart.transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.float32(np.sqrt(width / self._heads))
        scores += (mask.transpose(0, 2, 1)[:, None] - 1) * np.float32(1e9)
        mixed: Array = softmax(scores) @ heads("value")
        return mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)

    def _linear(self, name: str, values: Array) -> Array:
        result: Array = values @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return result

    def _norm(self, name: str, values: Array) -> Array:
        centred, spread = standardise(values, self._epsilon)
        scaled: Array = centred / spread * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]
        return scaled


def standardise(values: Array, epsilon: float) -> tuple[Array, Array]:
    """Values less their mean, and their standard deviation, along the last axis."""
    centred: Array = values - values.mean(-1, keepdims=True)
    return centred, np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(epsilon))


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = weights / weights.sum(-1, keepdims=True)
    return shares


def pool(states: Array, mask: Array) -> Array:
    mean: Array = (states * mask).sum(1) / mask.sum(1)
    return mean


def normalise(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _gelu(values: Array) -> Array:
    """x times the normal distribution's share below x; erf by Abramowitz and Stegun 7.1.26 (error under 2e-7)."""
    scaled = np.abs(values) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * scaled)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    error = 1 - series * np.exp(-(scaled**2))
    shared: Array = (values * (1 + np.sign(values) * error) / 2).astype(np.float32)
    return shared


def main(arguments: list[str]) -> int:
    from huggingface_hub import snapshot_download

    repo, *texts = arguments
    vectors = Encoder(Path(snapshot_download(repo))).embed(texts)
    for text, score in zip(texts[1:], vectors[1:] @ vectors[0], strict=True):
        print(f"{score:.3f}  {texts[0]!r} ~ {text!r}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
