"""The scenes that the model is explored in: small ones for every run of the tests, large ones for full runs."""

from __future__ import annotations

from typing import Final

from tests.torture.groups.interleavings.actors import Reader, Remover, Writer
from tests.torture.groups.interleavings.explorer import Scene
from tests.torture.groups.interleavings.maintenance import Collector, Compactor
from tests.torture.groups.interleavings.model import World

_PLAIN: Final = World({"A": ("a", "b"), "B": ("b", "c")}, {})
"""Two versions that share a chunk."""

_ALIKE: Final = World({"A": ("a",), "B": ("b",), "C": ("b", "c")}, {"b": "a"})
"""The chunk b may be stored against a."""

SMALL: Final = (
    Scene("a writer, a removal and gc", _PLAIN, "A", "", (Writer("w1", "B"), Remover("r", "A"), Collector("gc"))),
    Scene(
        "a pull by name, a removal and two gcs",
        _PLAIN,
        "A",
        "",
        (Writer("w1", "A", has_bytes=False), Remover("r", "A"), Collector("gc1"), Collector("gc2")),
    ),
    Scene(
        "a version brought back by its id, and gc",
        _PLAIN,
        "B",
        "A",
        (Writer("w1", "A", by_id=True), Remover("r", "A"), Collector("gc1"), Collector("gc2")),
    ),
    Scene(
        "a writer of a delta that another needs, and gc",
        _ALIKE,
        "",
        "A",
        (Writer("w1", "B"), Collector("gc1"), Collector("gc2")),
    ),
    Scene("a writer, compact and gc", _ALIKE, "A", "B", (Writer("w1", "C"), Collector("gc"), Compactor("compact"))),
    Scene(
        "a reader, a removal, compact and gc",
        _ALIKE,
        "AB",
        "",
        (Reader("reader", "B"), Remover("r", "B"), Collector("gc"), Compactor("compact")),
        deltas="b",
    ),
)

LARGE: Final = (
    Scene(
        "two writers, a removal and two gcs",
        _PLAIN,
        "A",
        "",
        (Writer("w1", "B"), Writer("w2", "A"), Remover("r", "A"), Collector("gc1"), Collector("gc2")),
        kills=2,
    ),
    Scene(
        "two writers of deltas, a removal, gc and compact",
        _ALIKE,
        "A",
        "",
        (Writer("w1", "B"), Writer("w2", "C"), Remover("r", "A"), Collector("gc"), Compactor("compact")),
    ),
    Scene(
        "a writer, a pull by name, two gcs and compact",
        _ALIKE,
        "A",
        "B",
        (
            Writer("w1", "C"),
            Writer("w2", "B", has_bytes=False),
            Collector("gc1"),
            Collector("gc2"),
            Compactor("compact"),
        ),
    ),
    Scene(
        "a reader, a writer, a removal, compact and two gcs",
        _ALIKE,
        "AB",
        "",
        (
            Reader("reader", "B"),
            Writer("w1", "B"),
            Remover("r", "B"),
            Collector("gc1"),
            Collector("gc2"),
            Compactor("compact"),
        ),
        deltas="b",
    ),
)
