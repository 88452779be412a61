"""Which release this is."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"


def user_agent() -> str:
    """How servers are told who asks."""
    import platform

    return f"casmodels/{__version__}; python/{platform.python_version()}"
