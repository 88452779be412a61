"""Sounds made of sines and noise."""

from __future__ import annotations

from typing import Any

import numpy as np

RATE = 16000


def vowel(seconds: float = 3.0, start: float = 1.0, stop: float = 2.5) -> Any:
    """16 kHz of faint noise, and from ``start`` to ``stop`` something that sounds as a voice does: the overtones of a
    wavering pitch that a mouth lets through, four syllables a second."""
    time = np.arange(int(RATE * seconds)) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = np.zeros_like(time)
    for overtone in range(1, 30):
        through = sum(np.exp(-(((overtone * pitch - at) / wide) ** 2)) for at, wide in ((700, 130), (1220, 150)))
        voice += (through + 0.02) * np.sin(overtone * phase)
    spoken = (time > start) & (time < stop) & (np.sin(2 * np.pi * 4 * time) > -0.3)
    noise = np.random.default_rng(1).normal(size=time.size) * 0.001
    return (0.1 * voice * spoken + noise).astype("float32")
