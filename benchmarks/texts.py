"""Training text that every Python installation carries: its language reference and its docstrings."""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

_SHORTEST, _LONGEST = 40, 600  # characters of a passage


def reference_pairs() -> list[tuple[str, str]]:
    """Neighbouring paragraphs of the language reference: each pair talks about one subject."""
    from pydoc_data.topics import topics

    pairs = []
    for _, text in sorted(topics.items()):
        passages = [passage for passage in map(_flatten, text.split("\n\n")) if len(passage) >= _SHORTEST]
        pairs += list(pairwise(passages))
    return pairs


def docstring_pairs() -> list[tuple[str, str]]:
    """A function's qualified name and arguments, and the first paragraph of its docstring."""
    pairs = []
    library = Path(sysconfig.get_path("stdlib"))
    for source in sorted(library.glob("*.py")):
        pairs += list(_documented(source))
    return pairs


def _documented(source: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(source.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            paragraph = _flatten((ast.get_docstring(node) or "").split("\n\n")[0])
            if len(paragraph) >= _SHORTEST:
                arguments = " ".join(argument.arg for argument in node.args.args)
                yield f"{source.stem} {node.name} {arguments}".replace("_", " "), paragraph


def _flatten(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:_LONGEST]
