"""The page that a person sees who opens the server's address in a browser."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>casmodels</title>
<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em .2em 0;text-align:left}.n{text-align:right}</style>
</head><body><h1>Models</h1>
"""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def models_page(endpoint: str, rows: Iterable[tuple[str, str, int, int]]) -> str:
    """HTML: one row for each model's name, last change, number of files and bytes."""
    lines = [
        f'<tr><td><a href="/api/models/{quote(name)}">{escape(name)}</a></td><td>{escape(changed[:10])}</td>'
        f'<td class="n">{files}</td><td class="n">{_size(size_bytes)}</td></tr>'
        for name, changed, files, size_bytes in rows
    ]
    table = "<table><tr><th>model<th>changed<th>files<th>size</tr>\n" + "\n".join(lines) + "\n</table>"
    use = f"<p>To use them: <code>export HF_ENDPOINT={escape(endpoint)}</code></p>"
    return f"{_HEAD}{use}\n{table if lines else '<p>None yet.</p>'}\n</body></html>\n"


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"
