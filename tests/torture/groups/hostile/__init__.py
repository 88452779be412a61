"""Hostile input: what others wrote tries to leave its directory, to exhaust memory or time, or to pass for other bytes.

trees     records made by hand, and honest ones with strange names, through checkouts and views
records   frames, recipes and versions that lie under right checksums
weights   model files whose headers lie, and pickles that would run something, through every way in and out
upstream  a hub that answers without end, without sense, or with other bytes
served    the server, over raw sockets: any path, any header; guests that are slow, silent or many
described the server, asked by schemathesis for all that its OpenAPI document says
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.torture.groups.hostile import described, records, served, trees, upstream, weights
from tests.torture.plan import Mutation, Outcome, Plan


def run(plan: Plan) -> Iterator[Outcome]:
    """All of it, each part in a directory of its own."""
    for part in (trees, records, weights, upstream, served, described):
        yield from part.run(plan)


MUTATIONS: Final = [
    Mutation(
        "a path of a tree may go up",
        "store/casstore/trees.py",
        'any(part in ("", ".", "..") for part in parts)',
        'any(part in ("", ".") for part in parts)',
    ),
    Mutation(
        "a link of a tree may go up",
        "store/casstore/trees.py",
        "            if not here:\n                raise _LeavesError\n            here.pop()",
        "            del here[-1:]",
    ),
    Mutation(
        "a blob's bytes are not compared with its name on the way out",
        "casmodels/views/materialise.py",
        "or hasher.digest() != wanted.blob.value",
        "",
    ),
    Mutation(
        "verify --data does not compare whole files",
        "store/casstore/maintenance/verify.py",
        "if reason is not None or row.kind is not FrameKind.RECIPE or not compare:",
        "if True:",
    ),
    Mutation(
        "who reads a whole file gets its end unseen",
        "store/casstore/blobs.py",
        "if sha256 != self.sha256.value:",
        "if False:",
    ),
    Mutation(
        "a zstd frame's claim is trusted",
        "store/casstore/codecs/zstd.py",
        "zstandard.get_frame_parameters(stored).content_size != raw_length",
        "False",
    ),
    Mutation(
        "a header's claimed length is trusted",
        "casmodels/formats/layout.py",
        "if end > size_bytes:",
        "if False:",
    ),
    Mutation(
        "a downloaded file's digest is not compared",
        "casmodels/downloads/transfer.py",
        "if expected is not None and actual != expected:",
        "if False:",
    ),
    Mutation(
        "a hub's answer may be of any length",
        "casmodels/sources/bounds.py",
        "if size_bytes > MOST_ANSWER_BYTES or self._left_bytes < 0:",
        "if False:",
    ),
    Mutation(
        "one route needs no token",
        "casmodels/serve/app.py",
        "if request.raw_path == Place.HEALTH:",
        'if request.raw_path == Place.HEALTH or "/refs" in request.raw_path:',
    ),
    Mutation(
        "a connection may wait for ever",
        "casmodels/serve/guests.py",
        "call_later(seconds, self._hang_up, guest)",
        "call_later(seconds, self.asks, guest)",
    ),
    Mutation(
        "idle connections keep others out",
        "casmodels/serve/guests.py",
        "if guest in here][:too_many]",
        "if guest in here][:0]",
    ),
    Mutation(
        "an order that nobody knows fails",
        "casmodels/serve/api.py",
        'key = "createdAt" if query.one("sort") == "createdAt" else "lastModified"',
        'key = query.one("sort") or "lastModified"',
    ),
    Mutation(
        "guests are told where on the machine a version came from",
        "casmodels/serve/describe.py",
        'if version.source.startswith("hf://") else',
        "if version.source else",
    ),
    Mutation(
        "an answer is not as it is described",
        "casmodels/serve/describe.py",
        '"size": file.size_bytes,\n        "path"',
        '"size": str(file.size_bytes),\n        "path"',
    ),
]
