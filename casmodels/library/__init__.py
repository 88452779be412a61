"""The library behind the command line: one store of models and what can be done with it."""

from casmodels.library.options import PullOptions
from casmodels.library.store import Store

__all__ = ["PullOptions", "Store"]
