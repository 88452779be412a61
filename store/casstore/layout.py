"""Where things lie in a store's directory, and whether a directory is a store. FORMAT.md, "Layout"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from casstore import files
from casstore.errors import NewerFormatError, NotAStoreError

FORMAT_VERSION = 1
_MARK = "casmodels store\nformat "


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside one store."""

    root: Path

    @property
    def mark(self) -> Path:
        """The file that makes a directory a store and says of which format."""
        return self.root / "FORMAT"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.root / "journal"

    @property
    def index(self) -> Path:
        """The SQLite database."""
        return self.root / "index.sqlite3"

    @property
    def packs(self) -> Path:
        """The packs."""
        return self.root / "packs"

    @property
    def leases(self) -> Path:
        """The leases of running operations."""
        return self.root / "leases"

    @property
    def downloads(self) -> Path:
        """Unfinished downloads of the layer above."""
        return self.root / "downloads"

    @property
    def reserve(self) -> Path:
        """Room for those who make room on a full disk."""
        return self.root / "reserve"

    @property
    def commit_lock(self) -> Path:
        """Held while committing."""
        return self.root / "commit.lock"

    @property
    def maintenance_lock(self) -> Path:
        """Held by gc, compact and repair."""
        return self.root / "maintenance.lock"

    def temporaries(self) -> list[Path]:
        """What writers of the journal or the mark that died in the middle left in the directory itself."""
        return [path for name in (self.journal.name, self.mark.name) for path in self.root.glob(f".{name}.*.tmp")]

    def make_directories(self) -> None:
        """Make those that are missing; a copy made by a tool that leaves out empty directories lacks some."""
        for directory in (self.packs, self.leases, self.downloads):
            files.make_directory(directory)

    def check(self) -> None:
        """Raise NotAStoreError or NewerFormatError unless the directory is a store of a format known here."""
        try:
            text = self.mark.read_text("ascii")
        except FileNotFoundError:
            raise NotAStoreError(
                f"{self.root} is not a casmodels store", remedy="name another directory with --store"
            ) from None
        except UnicodeDecodeError:
            text = ""
        except NotADirectoryError:
            raise NotAStoreError(f"{self.root} is not a directory", remedy="name a directory with --store") from None
        except PermissionError as error:
            raise files.explain(error, self.root) or error from error
        if not text.startswith(_MARK) or not text[len(_MARK) :].strip().isdecimal():
            raise NotAStoreError(f"{self.root} has a FORMAT file, but not a casmodels store's")
        if int(text[len(_MARK) :]) > FORMAT_VERSION:
            raise NewerFormatError(
                f"the store {self.root} has format {text[len(_MARK) :].strip()}; this release reads up to "
                f"{FORMAT_VERSION}",
                remedy="upgrade casmodels",
            )

    def exists(self) -> bool:
        """Whether the directory holds a store, known or not; False when it is missing, empty, or one whose making was
        cut short.

        Raises NotAStoreError when it holds something else, or a store's packs without its mark.
        """
        with files.translated(self.root):
            if self.mark.exists():
                return True
            if self.root.is_dir():
                if all(_MADE_BEFORE_THE_MARK.fullmatch(path.name) for path in self.root.iterdir()):
                    if not self.packs.is_dir() or not any(self.packs.iterdir()):
                        return False
                    raise NotAStoreError(
                        f"{self.root} holds packs, but its file FORMAT is missing",
                        remedy="if it is a store, write that file anew; store/FORMAT.md says what is in it",
                    )
            elif not self.root.exists() and not self.root.is_symlink():
                return False
        raise NotAStoreError(
            f"{self.root} is not empty and not a casmodels store", remedy="name another directory with --store"
        )

    def write_mark(self) -> None:
        """Make the directory a store: the last step of its creation."""
        files.write_atomically(self.mark, f"{_MARK}{FORMAT_VERSION}\n".encode("ascii"))


_MADE_BEFORE_THE_MARK = re.compile(
    r"packs|leases|downloads|journal|reserve|commit\.lock|index\.sqlite3(\.new)?(-wal|-shm|-journal)?|\.(FORMAT|journal)\..*\.tmp"
)
"""What a creation that was killed may leave: none of it counts without the mark."""
