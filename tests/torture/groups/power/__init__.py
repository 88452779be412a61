"""Power cuts: what was acknowledged is there, the store opens unaided, nothing that leaked stays.

First in user space: the writes, fsyncs and renames of each operation are recorded, and the disk is laid out as a cut
before any of them may leave it. Then on XFS, ext4 and btrfs, where they can be mounted: a user's commands in a row, cut
in the middle of one or right after it. Then everything that a command had acknowledged (it had ended well, or printed
its result) is there to the byte and what it had not is there wholly or not at all, ``verify --data`` finds nothing, one
gc takes what leaked, and the next commands work.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.groups.power import cuts, replays
from tests.torture.plan import Mutation, Outcome, Plan


def run(plan: Plan) -> Iterator[Outcome]:
    """Replays, then real cuts."""
    yield from replays.run(plan)
    yield from cuts.run(plan)


MUTATIONS = [
    Mutation(
        "packs are not synced before they get their name",
        "store/casstore/packs.py",
        "            files.sync_file(self._descriptor, self._path)\n            files.rename",
        "            files.rename",
    ),
    Mutation(
        "the packs' directory is not synced after a rename",
        "store/casstore/packs.py",
        "            files.sync_directory(self._final.parent)\n",
        "",
    ),
    Mutation(
        "a commit is acknowledged before the journal is synced",
        "store/casstore/journal.py",
        '            files.write_all(descriptor, line.encode("ascii"), self._path)\n'
        "            files.sync_file(descriptor, self._path)\n",
        '            files.write_all(descriptor, line.encode("ascii"), self._path)\n',
    ),
    Mutation(
        "files that are replaced atomically are not synced before the rename",
        "store/casstore/files.py",
        "            write_all(descriptor, data, temporary, called=path)\n"
        "            sync_file(descriptor, temporary, called=path)\n",
        "            write_all(descriptor, data, temporary, called=path)\n",
    ),
    Mutation(
        "the index does not sync",
        "store/casstore/index/database.py",
        "synchronous=FULL",
        "synchronous=OFF",
    ),
    Mutation(
        "files are not synced before a checkout gives them their name",
        "casmodels/views/materialise.py",
        "        files.sync_file(descriptor, temporary)\n        return FileState",
        "        return FileState",
    ),
]
