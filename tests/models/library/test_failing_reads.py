"""A disk that fails once while a record is read: nothing is decided as if that record were lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest import mock

from casmodels.library import Store
from casstore.errors import DamagedError
from casstore.packs import PackReader


@contextmanager
def failing_read(number: int) -> Iterator[Callable[[], bool]]:
    """The read of a pack of that number fails (0 is the first); tells whether there was one."""
    real, reads = PackReader.read, count()

    def read(packs: PackReader, pack_id: bytes, offset: int, length: int) -> bytes:
        if next(reads) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(packs, pack_id, offset, length)

    with mock.patch.object(PackReader, "read", read):
        yield lambda: next(reads) > number


def test_a_tag_goes_to_the_newest_version_or_nowhere(store: Store, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for content in ("old", "new"):
        (model / "weights").write_text(content)
        store.checkpoint("mine", model)
    failures = 0
    for number in count():
        with failing_read(number) as has_failed:
            try:
                store.tag("mine", f"t{number}")
            except DamagedError:
                failures += 1
            if not has_failed():
                break
    new, old = store.versions("mine")
    assert f"t{number}" in new.tags
    assert old.tags == ()
    assert failures > 1


def test_a_checkout_leaves_nothing_of_the_old_version_or_fails(store: Store, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "empty").mkdir(parents=True)
    (model / "weights").write_text("old")
    (model / "link").symlink_to("weights")
    old = store.checkpoint("mine", model).version
    (model / "empty").rmdir()
    (model / "link").unlink()
    (model / "weights").write_text("new")
    store.checkpoint("mine", model)
    failures = 0
    for number in count():
        out = tmp_path / f"out{number}"
        store.checkout(f"mine@{old}", out)
        with failing_read(number) as has_failed:
            try:
                store.checkout("mine", out)
            except DamagedError:
                failures += 1
            else:
                assert [path.name for path in out.iterdir()] == ["weights"]
            if not has_failed():
                break
        store.checkout("mine", out)
        assert [path.name for path in out.iterdir()] == ["weights"]
        assert (out / "weights").read_text() == "new"
    assert failures > 2
