"""``python -m casmodels``."""

from __future__ import annotations

from casmodels.cli import main

if __name__ == "__main__":
    main()
