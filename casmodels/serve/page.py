"""The page that a person sees who opens the server's address in a browser."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from urllib.parse import quote

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>casmodels</title>
<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em .2em 0;text-align:left}.n{text-align:right}</style>
</head><body><h1>Models</h1>
"""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Row(NamedTuple):
    """A model, when it changed last (None: its newest version is damaged), how many files it has, and their bytes."""

    name: str
    changed: str | None
    files: int
    size_bytes: int


def models_page(endpoint: str, rows: Iterable[Row]) -> str:
    """HTML: one row for each model."""
    lines = [
        f'<tr><td><a href="/api/models/{quote(row.name)}">{escape(row.name)}</a></td>{_facts(row)}</tr>' for row in rows
    ]
    table = "<table><tr><th>model<th>changed<th>files<th>size</tr>\n" + "\n".join(lines) + "\n</table>"
    use = f"<p>To use them: <code>export HF_ENDPOINT={escape(endpoint)}</code></p>"
    return f"{_HEAD}{use}\n{table if lines else '<p>None yet.</p>'}\n</body></html>\n"


def _facts(row: Row) -> str:
    if row.changed is None:
        return "<td>damaged</td><td></td><td></td>"
    return (
        f'<td>{escape(row.changed[:10])}</td><td class="n">{row.files}</td><td class="n">{_size(row.size_bytes)}</td>'
    )


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"
