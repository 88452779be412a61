"""The short form of every group of torture, with another seed each time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture import mutations, registry
from tests.torture.plan import Plan


@pytest.mark.parametrize("name", registry.names())
def test_the_short_form_holds(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    outcomes = list(registry.load(name).run(Plan(seed, tmp_path, is_short=True)))
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    assert not failures, f"{name} with the seed {seed}: {failures}"
    assert any(outcome.points for outcome in outcomes), "nothing was done"


@pytest.mark.parametrize("name", registry.names())
def test_every_deliberate_fault_fits_the_source(name: str) -> None:
    """And leaves a program: one that is none would be noticed for the wrong reason."""
    for mutation in registry.load(name).MUTATIONS:
        text = (mutations.ROOT / mutation.file).read_text()
        assert text.count(mutation.before) == 1, f"{mutation.what}: {mutation.file} has changed"
        compile(text.replace(mutation.before, mutation.after), mutation.file, "exec")
