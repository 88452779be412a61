"""When loops are compiled: after enough work, each once, and none that nobody asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from casstore.kernels import compiled
from casstore.kernels.compiled import Loops


def loops(pays_after_bytes: int = 0) -> Loops:
    made = Loops(pays_after_bytes)
    made.add("sum", lambda numbers: numbers.sum(), "const int64[]", result="int64")
    made.add("wrong", lambda numbers: numbers.nothing(), "const int64[]", result="int64")
    return made


def test_nothing_compiles_before_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    some = loops(1000)
    asked: list[str] = []
    monkeypatch.setattr(some, "compile", asked.append)
    some.note_work(999)
    assert some.find("sum") is None
    assert asked == []
    some.note_work(1)
    some.find("sum")
    some.find("sum")
    assert asked == ["sum"]  # and an answer of "none" is remembered


def test_what_does_not_compile_is_numpys() -> None:
    assert loops().compile("wrong") is None


def test_others_go_on_while_one_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    some = loops()
    begun, finish = threading.Event(), threading.Event()

    def slowly(name: str) -> compiled.Kernel:
        begun.set()
        assert finish.wait(10)
        return len

    monkeypatch.setattr(some, "compile", slowly)
    compiling = threading.Thread(target=some.find, args=("sum",))
    compiling.start()
    assert begun.wait(10)
    assert some.find("sum") is None
    finish.set()
    compiling.join()
    assert some.find("sum") is len


DELTA = """
import sys, numpy
from casstore.codecs import delta
from casstore.kernels.compiled import DELTAS
words = numpy.arange(5000, dtype="<u2")
payload = delta.encode(words + words % 3, words)
assert "llvmlite" not in sys.modules, "for some words NumPy does"
DELTAS.pays_after_bytes = 0
assert delta.encode(words + words % 3, words) == payload
assert bytes(delta.decode(payload, words)) == (words + words % 3).tobytes()
assert all(DELTAS._compiled.values())
print(*sorted(DELTAS._compiled))
"""


def test_only_the_loops_for_these_words_are_compiled() -> None:
    process = subprocess.run([sys.executable, "-c", DELTA], text=True, capture_output=True, env=dict(os.environ))
    assert process.stderr == ""
    assert process.stdout.split() == [
        "compare2", "count", "decode", "encode", "merge", "pack2", "restore2", "select2", "unpack2"
    ]  # fmt: skip
