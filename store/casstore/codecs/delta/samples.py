"""A few runs of a chunk's words, which stand for all of them."""

from __future__ import annotations

from casstore.kernels import Words
from casstore.kernels.differences import BLOCK_WORDS


def sample_runs(words: Words, runs: int) -> Words:
    """So many blocks of words, spread over them; all whole blocks if there are no more."""
    blocks = words[: words.size // BLOCK_WORDS * BLOCK_WORDS].reshape(-1, BLOCK_WORDS)
    step = max(len(blocks) // runs, 1)
    return blocks[step // 2 :: step][:runs].ravel() if len(blocks) > runs else blocks.ravel()
