from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, threading
if sys.argv[1] == "tuned":
    from casmodels.runtime.memory import tune_for_large_buffers
    tune_for_large_buffers()
def work():
    for _ in range(50):
        buffers = [b"x" * (4 << 20) for _ in range(5)]
        del buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is tuned")
def test_freed_buffers_are_used_again() -> None:
    assert _faults("tuned") * 10 < _faults("plain")


def test_numpy_gets_one_thread() -> None:
    program = (
        "from casmodels.runtime.memory import tune_for_large_buffers; tune_for_large_buffers();"
        "import os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
