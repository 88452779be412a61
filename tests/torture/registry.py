"""The groups: each module of `tests.torture.groups` has ``run(plan)`` and a list of ``MUTATIONS``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from tests.torture import groups
from tests.torture.plan import Mutation, Outcome, Plan


class Group(Protocol):
    """A module of torture; its docstring says what it does."""

    MUTATIONS: Sequence[Mutation]

    def run(self, plan: Plan) -> Iterator[Outcome]:
        """Do it all, and tell what held; a short run does a part of each."""
        ...


def names() -> list[str]:
    """All groups, in the order of their names."""
    return sorted(module.name for module in pkgutil.iter_modules(groups.__path__))


def load(name: str) -> Group:
    """A group by its name."""
    return cast("Group", importlib.import_module(f"tests.torture.groups.{name}"))
