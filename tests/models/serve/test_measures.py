"""The figures for Prometheus, of a real server, read by Prometheus' own parser."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from casmodels.release import __version__
from casmodels.serve.app import run
from casmodels.serve.routes import Endpoint, Place
from casstore.store import Store
from tests.models.performance.driver import MIB, FakeNvml, install
from tests.models.serve.shelf import Hub, hub, put, wait_until

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figures_of(body: bytes) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def scraped(served: Hub, **headers: str) -> Figures:
    """The figures once they tell of each request for something else: one is counted when all of its answer is sent."""
    told: list[Figures] = []
    asked = [request for request in served.requests if not request.endswith(Place.METRICS)]

    def all_told() -> bool:
        reply = served.ask(Place.METRICS, **headers)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
        told[:] = [figures_of(reply.body)]
        return sum(value for key, value in told[0].items() if of_something_else(*key)) >= len(asked)

    wait_until(all_told)
    return told[0]


def of_something_else(name: str, labels: tuple[tuple[str, str], ...]) -> bool:
    return name == "casmodels_http_requests_total" and ("route", "metrics") not in labels


def requests(figures: Figures, **labels: str) -> float:
    return figures.get(("casmodels_http_requests_total", tuple(sorted(labels.items()))), 0)


@pytest.fixture
def measured(store: Store) -> Iterator[Hub]:
    put(store, "m", {"a": b"x" * 1000})
    put(store, "m", {"a": b"y"})
    put(store, "org/other", {"a": b"z"})
    with hub(store, metrics=True) as running:
        yield running


def test_requests_bytes_and_seconds_by_endpoint(measured: Hub) -> None:
    for _ in range(3):
        measured.ask("/m/resolve/main/a")
    measured.ask("/m/resolve/main/a", "HEAD")
    measured.ask("/api/models/nothing")
    measured.ask("/no/such/page")
    measured.ask("/", "DELETE")
    found = scraped(measured)
    assert requests(found, method="GET", route="resolve", status="200") == 3
    assert requests(found, method="HEAD", route="resolve", status="200") == 1
    assert requests(found, method="GET", route="info", status="404") == 1
    assert requests(found, method="GET", route="none", status="404") == 1
    assert requests(found, method="other", route="page", status="405") == 1
    assert found["casmodels_http_request_seconds_count", (("route", "resolve"),)] == 4
    assert found["casmodels_http_request_seconds_bucket", (("le", "+Inf"), ("route", "resolve"))] == 4
    assert found["casmodels_http_sent_bytes_total", (("route", "resolve"),)] > 4 * 100
    wait_until(lambda: requests(scraped(measured), method="GET", route="metrics", status="200") > 0)


def test_what_is_sent_is_counted(measured: Hub, store: Store) -> None:
    put(store, "large", {"w": bytes(range(256)) * 4000})
    measured.ask("/large/resolve/main/w")
    sent = scraped(measured)["casmodels_http_sent_bytes_total", (("route", "resolve"),)]
    assert 1_024_000 < sent < 1_026_000


def test_the_store_and_the_process(measured: Hub, store: Store) -> None:
    found = scraped(measured)
    assert found["casmodels_store_models", ()] == 2
    assert found["casmodels_store_versions", ()] == 3
    packs = sum(path.stat().st_size for path in store.layout.packs.rglob("*") if path.is_file())
    assert found["casmodels_store_packs_bytes", ()] == packs
    assert found["casmodels_info", (("version", __version__),)] == 1
    if sys.platform == "linux":
        assert found["process_resident_memory_bytes", ()] > MIB
        assert found["process_cpu_seconds_total", ()] > 0


def test_gpus_where_there_are_some(measured: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    assert not [name for name, _ in scraped(measured) if "gpu" in name]
    install(monkeypatch, FakeNvml())
    found = scraped(measured)
    assert found["casmodels_gpu_use_ratio", (("gpu", "1"),)] == pytest.approx(0.41)
    assert found["casmodels_gpu_used_bytes", (("gpu", "0"),)] == 30 * MIB
    assert found["casmodels_gpu_memory_bytes", (("gpu", "0"),)] == 100 * MIB


def test_no_guest_makes_a_label(measured: Hub) -> None:
    for number in range(20):
        measured.ask(f"/api/models/name-{number}/tree/branch-{number}")
        measured.ask(f"/page-{number}", f"METHOD{number}")
    labels = {label for _, labels in scraped(measured) for label in labels}
    assert {value for name, value in labels if name == "route"} <= {"none", *Endpoint, *(p.name.lower() for p in Place)}
    assert {value for name, value in labels if name == "method"} <= {"GET", "HEAD", "POST", "other"}


def test_the_same_guards(store: Store) -> None:
    def refused(figures: Figures) -> float:
        return requests(figures, method="GET", route="none", status="401")

    with hub(store, metrics=True, token="secret") as served:
        assert served.ask(Place.METRICS).error == (401, "Unauthorized")
        wait_until(lambda: refused(scraped(served, Authorization="Bearer secret")) == 1)
    with hub(store, metrics=True) as served:
        assert served.ask(Place.METRICS, Host="example.com").error == (421, "MisdirectedRequest")
        assert served.ask(Place.METRICS, "POST").error == (405, "MethodNotAllowed")


def test_they_are_there_only_when_asked_for(served: Hub) -> None:
    assert served.ask(Place.METRICS).error == (404, "NotFound")


def test_open_connections(store: Store) -> None:
    found: list[Figures] = []

    def ready(line: str) -> None:
        threading.Thread(target=talk, args=(Hub(line.rpartition(" ")[2]),)).start()

    def talk(served: Hub) -> None:
        try:
            with socket.create_connection(served.address), socket.create_connection(served.address):
                found.append(scraped(served))
        finally:
            signal.raise_signal(signal.SIGINT)

    run(store, "127.0.0.1", 0, None, ready, metrics=True)
    assert found[0]["casmodels_http_open_connections", ()] == 3


def test_a_missing_library_is_one_sentence() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from casmodels.errors import MissingExtraError\nfrom casmodels.serve.app import build\n"
        "try:\n    build(None, metrics=True)\n"
        "except MissingExtraError as error:\n    print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "run `pip install 'casmodels[metrics]'`\n"
