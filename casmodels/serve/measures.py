"""The server's figures for Prometheus. Needs the extra ``metrics`` (prometheus-client).

Labels take a few words only: never a path or a name that a guest sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from casmodels.errors import MissingExtraError
from casmodels.performance.gpus import all_gpus
from casmodels.release import __version__
from casstore.store import Store

if find_spec("prometheus_client") is None:
    raise MissingExtraError("metrics")

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

if TYPE_CHECKING:
    from aiohttp import web

_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
"""A look into the index takes milliseconds, a large file minutes."""


class Measures:
    """Counts requests, and tells all figures. `count` is for the event loop's thread, `text` for a worker."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        requests = "Requests that were answered, by endpoint"
        self._requests = Counter(
            "casmodels_http_requests", requests, ("method", "route", "status"), registry=self._registry
        )
        self._sent = Counter(
            "casmodels_http_sent_bytes", "Bytes of answers, headers too", ("route",), registry=self._registry
        )
        self._seconds = Histogram(
            "casmodels_http_request_seconds",
            "From a request's head to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._connections = 0
        self._registry.register(_Figures(store, self))
        ProcessCollector(registry=self._registry)

    @property
    def connections(self) -> int:
        """Open ones, as of the last request for figures."""
        return self._connections

    def count(self, request: web.Request, route: str, status: int, seconds: float) -> None:
        """Note an answer; ``route`` is one of a few words."""
        method = request.method if request.method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._sent.labels(route).inc(request.writer.output_size)
        self._seconds.labels(route).observe(seconds)

    def text(self, connections: int) -> bytes:
        """All figures, as Prometheus reads them. Raises StoreError."""
        self._connections = connections
        return generate_latest(self._registry)


class _Figures:
    """What is looked up when it is asked for: two small tables of the index, and the driver of the GPUs."""

    def __init__(self, store: Store, measures: Measures) -> None:
        self._store = store
        self._measures = measures

    def describe(self) -> Iterator[Metric]:
        """None beforehand: the names differ from all others, and whoever registers this is spared a look-up."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("casmodels", "The release", {"version": __version__})
        yield _gauge("casmodels_http_open_connections", "Open connections", self._measures.connections)
        yield from self._of_store()
        yield from _of_gpus()

    def _of_store(self) -> Iterator[Metric]:
        with self._store.reading() as reader:
            census = reader.census()
        yield _gauge("casmodels_store_models", "Names with a version", census.names)
        yield _gauge("casmodels_store_versions", "Versions", census.versions)
        yield _gauge("casmodels_store_packs_bytes", "What the packs take", census.packs_bytes)


def _of_gpus() -> Iterator[Metric]:
    gpus = all_gpus()
    figures = (
        ("casmodels_gpu_use_ratio", "Share of the time in which it worked", [gpu.use_percent / 100 for gpu in gpus]),
        ("casmodels_gpu_used_bytes", "Memory in use, of all programs", [gpu.used_bytes for gpu in gpus]),
        ("casmodels_gpu_memory_bytes", "Memory in all", [gpu.total_bytes for gpu in gpus]),
    )
    for name, words, values in figures if gpus else ():
        family = GaugeMetricFamily(name, words, labels=("gpu",))
        for gpu, value in zip(gpus, values, strict=True):
            family.add_metric((str(gpu.number),), value)
        yield family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value)
