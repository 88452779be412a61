"""One tear: what can be read before the repair, the repair, and what must hold after it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from casmodels import config
from casmodels.library import Store as ModelStore
from casstore.errors import StoreError
from casstore.index.places import Place, PlaceKind
from casstore.maintenance import gc
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs, pack_path
from casstore.store import Store
from casstore.testing.builders import all_contents, contents, put
from tests.torture.groups.rebuild.samples import Sample, opened
from tests.torture.groups.rebuild.tears import Tear


class Trial:
    """A sample, copied to ``path`` and torn there."""

    def __init__(self, sample: Sample, path: Path, chance: random.Random, *, by_command: bool) -> None:
        self._sample = sample
        self._path = path
        self._chance = chance
        self._by_command = by_command
        self.was_refused = False

    def run(self, tear: Tear) -> Iterator[str]:
        """What did not hold."""
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._sample.closed, self._path, symlinks=True)
        tear(self._chance, self._sample, self._path)
        try:
            if self._chance.random() < 0.5:
                yield from self._before()
            if self._chance.random() < 0.25:
                self._tear_a_trailer()
            if self._chance.random() < 0.25:
                self._tear_the_journals_tail()
            yield from self._repair()
            yield from self._after()
        except Exception as error:
            yield f"{type(error).__name__}: {error}"

    def _before(self) -> Iterator[str]:
        """A torn index says no, or the truth: where it has forgotten something that is no lie."""
        try:
            with opened(self._path) as store:
                found = all_contents(store)
        except StoreError:
            self.was_refused = True
            return
        for key, files in found.items():
            if key not in self._sample.files:
                yield f"before the repair there was a version that is removed: {key}"
            elif files != self._sample.files[key]:
                yield f"before the repair {key} had other bytes"

    def _tear_a_trailer(self) -> None:
        """The rebuild must then find the pack's frames by walking them."""
        packs = self._path / "packs"
        path = pack_path(packs, self._chance.choice(sorted(list_packs(packs))))
        with path.open("r+b") as file:
            file.seek(-self._chance.randrange(1, 40), 2)
            file.write(self._chance.randbytes(1))

    def _tear_the_journals_tail(self) -> None:
        """A commit that was cut short: it never counted."""
        with (self._path / "journal").open("ab") as file:
            file.write(
                self._chance.choice((b"79be6a6b79cf9147ad86", bytes(50), b'79be6a6b {"operations":[["ref"\0\0\n'))
            )

    def _repair(self) -> Iterator[str]:
        settings = self._path.with_name("config.toml")
        settings.touch()
        environ = {"HOME": str(self._path.parent), "CASMODELS_CONFIG": str(settings)}
        if self._by_command:
            command = [sys.executable, "-m", "casmodels", "--store", str(self._path), "--json", "-q", "repair"]
            inherited = {"PYTHONPATH": ":".join(sys.path)}
            done = subprocess.run(command, env={**environ, **inherited}, capture_output=True, text=True, check=False)
            if done.returncode or json.loads(done.stdout)["lost"]:
                yield f"`casmodels repair` ended with {done.returncode}: {done.stdout} {done.stderr}"
            return
        with ModelStore(config=config.load(store=self._path, environ=environ)) as store:
            repaired = store.repair()
        if repaired.lost:
            yield f"the repair lost {repaired.lost[0]}"

    def _after(self) -> Iterator[str]:
        sample = self._sample
        with opened(self._path) as store:
            yield from self._as_before(store, "after the repair")
            with store.reading() as reader:
                if [blob for blob in sample.gone_blobs if reader.find_blob(blob) is not None]:
                    yield "a blob came back that was collected or never committed"
                if [version for version in sample.gone_versions if reader.versions_with_prefix(version.hex)]:
                    yield "a version came back that was collected or never committed"
            remove_leftovers(store.engine)
            gc.collect(store.engine)
            yield from self._as_before(store, "after a gc")
            if set(list_packs(store.layout.packs)) != store.engine.ledger.rows.pack_ids():
                yield "after a gc there are other packs than count"
            noted = Place(str(self._path.resolve() / "out"), PlaceKind.VIEW, "a", self._sample.refs[0].target, {}, 1, 2)
            store.places.save(noted)
            rebuilt = rebuild(store.layout)
            with opened(self._path) as again:
                if again.places.all() != [noted]:
                    yield "another rebuild forgot what lies in a directory"
            if (rebuilt.lost_packs, rebuilt.adopted_packs, rebuilt.damaged_lines) != ((), (), 0):
                yield f"another rebuild found {rebuilt}"
            yield from self._as_before(store, "after another rebuild")
            files = {"new": self._chance.randbytes(5000), "text": b"the same in all\n" * 50}
            version = put(store, "new", files)
            with store.reading() as reader:
                if contents(reader, version) != files:
                    yield "what was stored afterwards comes out as something else"

    def _as_before(self, store: Store, when: str) -> Iterator[str]:
        """The same versions, bytes and refs, and nothing wrong anywhere."""
        found = all_contents(store)
        for key in found.keys() | self._sample.files.keys():
            if found.get(key) != self._sample.files.get(key):
                yield f"{when} {key} is not what it was"
        with store.reading() as reader:
            if tuple(reader.refs()) != self._sample.refs:
                yield f"{when} the refs are {reader.refs()}"
            checked = check(store.engine, data=True)
        if checked.findings or checked.broken:
            yield f"{when} there is damage: {checked.findings or checked.broken}"
