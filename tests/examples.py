"""The Python examples of the documents, to be run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def examples_of(page: str) -> list[str]:
    """The blocks of Python in a page, such as ``docs/loaders.md``, in their order."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
