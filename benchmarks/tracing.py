"""Which files under a directory a command read or wrote, seen with strace: the proof that something was not touched."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from benchmarks.workplace import Workplace

# `12  pread64(5</dir/file>, "…"..., 4096, 0) = 4096`; a mapped file counts with the whole length that was mapped.
_TRANSFER = re.compile(r"(read|pread64|readv|preadv2?|write|pwrite64|writev)\((\d+)<([^>]*)>.*\)\s+= (\d+)$")
_MAPPED = re.compile(r"mmap\([^,]+, (\d+), [^,]+, [^,]+, (\d+)<([^>]*)>, [^)]*\)\s+= 0x")
_COPIED = re.compile(r"(copy_file_range|sendfile)\(\d+<([^>]*)>.* \d+<([^>]*)>.*\)\s+= (\d+)$")
_CALLS = "read,pread64,readv,preadv,preadv2,write,pwrite64,writev,mmap,copy_file_range,sendfile"


@dataclass
class Touched:
    """Bytes read and written per file (absolute path), by a command and all its children."""

    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)

    def read_below(self, directory: Path) -> int:
        return _below(self.read, directory)

    def written_below(self, directory: Path) -> int:
        return _below(self.written, directory)


def trace(workplace: Workplace, script: str) -> Touched:
    """Run `script` under strace."""
    log = workplace.work / "strace.log"
    workplace.run(f"strace -f -y -s 0 -e trace={_CALLS} -o {quote(str(log))} bash -c {quote(script)}")
    touched = Touched()
    pending: dict[str, str] = {}
    for line in log.read_text(errors="replace").splitlines():
        thread, call = line.split(None, 1)
        if call.endswith("<unfinished ...>"):
            pending[thread] = call.removesuffix("<unfinished ...>")
        elif call.startswith("<... "):
            _count(touched, pending.pop(thread, "") + call.split("resumed>", 1)[1])
        else:
            _count(touched, call)
    log.unlink()
    return touched


def _count(touched: Touched, call: str) -> None:
    if found := _TRANSFER.match(call):
        side = touched.written if "write" in found[1] else touched.read
        side[found[3]] += int(found[4])
    elif found := _MAPPED.match(call):
        touched.read[found[3]] += int(found[1])
    elif found := _COPIED.match(call):
        source, target = (found[2], found[3]) if found[1] == "copy_file_range" else (found[3], found[2])
        touched.read[source] += int(found[4])
        touched.written[target] += int(found[4])


def _below(counter: Counter[str], directory: Path) -> int:
    root = str(directory.resolve()) + "/"
    return sum(count for path, count in counter.items() if path.startswith(root))
