"""A short, real fine-tune of the encoder: AdamW on a contrastive objective, on the CPU.

The objective is the one that sentence-transformers calls multiple negatives ranking: the mean-pooled, normalised
embedding of a passage must be nearer to its partner's than to those of the other pairs in the batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_PAIRS = 16
TOKENS = 32
PEAK_LEARNING_RATE = 2e-5
WARM_UP = 0.1  # of all steps
SCALE = 20.0  # of the cosine, before the softmax


@dataclass(frozen=True)
class FineTune:
    """What to train on, how long, and after which steps to save; the last of them ends the run."""

    pairs: Sequence[tuple[str, str]]
    seed: int
    save_after_steps: tuple[int, ...]


def train(base: Path, run: FineTune, save: Callable[[Any, Any, int], None], log: Callable[[str], None]) -> None:
    """Train a copy of the model in `base`; `save(model, tokenizer, step)` is called at each checkpoint."""
    import torch
    from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(run.seed)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model = AutoModel.from_pretrained(base, local_files_only=True, dtype=torch.float32)
    model.train()
    steps = run.save_after_steps[-1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, int(steps * WARM_UP), steps)
    shuffle = random.Random(run.seed)
    recent = 0.0
    for step in range(1, steps + 1):
        batch = shuffle.sample(list(run.pairs), BATCH_PAIRS)
        loss = _contrastive_loss(model, tokenizer, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        recent = loss.item() if step == 1 else 0.9 * recent + 0.1 * loss.item()
        if step % 25 == 0:
            log(f"step {step}/{steps}, loss {recent:.3f}")
        if step in run.save_after_steps:
            save(model, tokenizer, step)


def _contrastive_loss(model: Any, tokenizer: Any, batch: Sequence[tuple[str, str]]) -> Any:
    import torch

    left = _embed(model, tokenizer, [pair[0] for pair in batch])
    right = _embed(model, tokenizer, [pair[1] for pair in batch])
    scores = SCALE * left @ right.T
    target = torch.arange(len(batch))
    return (torch.nn.functional.cross_entropy(scores, target)
            + torch.nn.functional.cross_entropy(scores.T, target)) / 2  # fmt: skip


def _embed(model: Any, tokenizer: Any, texts: list[str]) -> Any:
    import torch

    tokens = tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
