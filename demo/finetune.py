"""Trains the last matrix of the encoder for a few steps, in place: `python -m demo.finetune DIRECTORY`.

Real gradient descent on a real objective (a function's name must lie near its own description, far from the others'),
with the gradient written out by hand, so that the demo needs no torch. The other layers stay as they are.
"""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from demo.encoder import Array, Encoder, normalise, pool, softmax, standardise

STEPS = 12
RATE = np.float32(0.05)
SCALE = np.float32(20)  # of the cosine, before the softmax
EPSILON = 1e-12


def pairs() -> tuple[list[str], list[str]]:
    """The built-in functions' names, and the first line of what Python says about each."""
    found = {
        name.lower(): str(value.__doc__).strip().splitlines()[0]
        for name, value in vars(builtins).items()
        if callable(value) and value.__doc__ and not name.startswith("_") and not name.endswith(("Error", "Warning"))
    }
    return [f"python {name}" for name in found], list(found.values())


def train(encoder: Encoder) -> list[float]:
    """Run the steps on the last layer's output matrix; the loss before each."""
    names, descriptions = pairs()
    inner, residual, mask = encoder.last_layer_input(names + descriptions)
    layer = f"encoder.layer.{encoder.layers - 1}.output"
    weight, gain = encoder.tensors[f"{layer}.dense.weight"], encoder.tensors[f"{layer}.LayerNorm.weight"]
    offset, shift = encoder.tensors[f"{layer}.dense.bias"], encoder.tensors[f"{layer}.LayerNorm.bias"]
    losses = []
    for _ in range(STEPS):
        centred, spread = standardise(inner @ weight.T + offset + residual, EPSILON)
        shape = centred / spread
        pooled = pool(shape * gain + shift, mask)
        loss, slope = contrast(normalise(pooled), len(names))
        losses.append(loss)
        # Back through the normalisation of the vectors, the mean over tokens, the layer norm and the matrix.
        unit, length = normalise(pooled), np.linalg.norm(pooled, axis=-1, keepdims=True)
        slope = (slope - unit * (slope * unit).sum(-1, keepdims=True)) / length
        slopes = slope[:, None] * mask / mask.sum(1, keepdims=True) * gain
        slopes = slopes - slopes.mean(-1, keepdims=True) - shape * (slopes * shape).mean(-1, keepdims=True)
        slopes /= spread
        weight -= RATE * (slopes.reshape(-1, weight.shape[0]).T @ inner.reshape(-1, weight.shape[1]))
    return losses


def contrast(unit: Array, count: int) -> tuple[float, Array]:
    """The loss of telling each name's description from the others', and its slope for every vector."""
    names, descriptions = unit[:count], unit[count:]
    scores: Array = names @ descriptions.T
    shares = softmax(SCALE * scores)
    loss = float(-np.log(np.diag(shares)).mean())
    slope = SCALE * (shares - np.eye(count, dtype=np.float32)) / np.float32(count)
    return loss, np.concatenate([slope @ descriptions, slope.T @ names])


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    encoder = Encoder(directory)
    losses = train(encoder)
    path = directory / "model.safetensors"
    with safe_open(path, "numpy") as original:
        metadata = original.metadata()
    unfinished = path.with_suffix(".unfinished")
    save_file(encoder.tensors, unfinished, metadata)
    unfinished.replace(path)
    print(f"{STEPS} steps of gradient descent on the last layer: loss {losses[0]:.3f} to {losses[-1]:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
