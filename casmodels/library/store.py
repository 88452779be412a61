"""A model store: the public face of the library."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from casmodels import config as configuration
from casmodels.config import Config
from casmodels.library.context import Context
from casmodels.progress import Progress
from casmodels.registry import Registry

if TYPE_CHECKING:
    from io import BufferedReader

    from casmodels.cancellation import Cancellation
    from casmodels.library.options import PullOptions
    from casmodels.log_files import LogFiles
    from casmodels.results import (
        CheckoutResult,
        CheckpointResult,
        CleanupResult,
        CompactResult,
        ContentsResult,
        DiffResult,
        EntryResult,
        GcResult,
        ModelResult,
        PullResult,
        Quantised,
        RemoveResult,
        RepairResult,
        SignatureResult,
        SignResult,
        StatsResult,
        TakeInResult,
        VerifyResult,
        VersionResult,
        ViewResult,
        WrittenSignature,
    )

    # The method `list` hides the type.
    _Models: TypeAlias = list[ModelResult]
    _Entries: TypeAlias = list[EntryResult]
    _Versions: TypeAlias = list[VersionResult]
    _Names: TypeAlias = list[str]
    _Pulls: TypeAlias = list[PullResult]
    _TakeIns: TypeAlias = list[TakeInResult]

    _StrPath: TypeAlias = str | os.PathLike[str]


class Store:
    """A store of models. Opens nothing until it has to; close it, or use it with ``with``.

    ``path`` is its directory (None: what the configuration says); ``config`` and ``registry`` are read from the
    environment and the configuration file unless they are given. Methods raise the errors of `casmodels.errors`.
    """

    def __init__(
        self, path: _StrPath | None = None, *, config: Config | None = None, registry: Registry | None = None
    ) -> None:
        at = _path(path)
        config = config if config is not None else configuration.load(store=at)
        self._context = Context(config, registry, (at or config.store_path).resolve())

    @property
    def directory(self) -> Path:
        """Where the store is."""
        return self._context.path

    @property
    def config(self) -> Config:
        """What it goes by."""
        return self._context.config

    @property
    def logs(self) -> LogFiles | None:
        """Where it is logged what happens to models; None unless that is configured."""
        return self._context.logs

    @property
    def registry(self) -> Registry:
        """The models that are known."""
        return self._context.registry

    def close(self) -> None:
        """Close the files. A store that is used again opens them again."""
        self._context.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pull(
        self,
        models: str | Sequence[str],
        options: PullOptions | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> _Pulls:
        """Bring models in from the Hub, a URL or this machine; what fails is a result with an error.

        Raises InterruptedPullError when it is cancelled, of which no unfinished download is left then.
        """
        from casmodels.library import pulling
        from casmodels.library.options import PullOptions

        return pulling.pull(self._context, _several(models), options or PullOptions(), progress, cancellation)

    def take_in(
        self,
        folder: _StrPath,
        options: PullOptions | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> _TakeIns:
        """Save the models of a folder that another program kept under their Hub ids; nothing there is written to.

        Raises NotFoundError or InvalidInputError for a folder that cannot be one, InterruptedPullError.
        """
        from casmodels.cancellation import Cancellation
        from casmodels.library import taking_in
        from casmodels.library.options import PullOptions

        return taking_in.take_in(
            self._context,
            Path(folder),
            options or PullOptions(),
            progress,
            cancellation or Cancellation(),
        )

    def pull_list(self, path: _StrPath, options: PullOptions | None = None, progress: Progress | None = None) -> _Pulls:
        """Bring in every model of a download list (`casmodels.configs`); what fails is a result with an error.

        Raises NotFoundError, and ConfigurationError that names file, line and entry, before anything is fetched.
        """
        from casmodels.library import pulling_lists
        from casmodels.library.options import PullOptions

        return pulling_lists.pull_list(self._context, Path(path), options or PullOptions(), progress)

    def redownload(self, model: str, options: PullOptions | None = None, progress: Progress | None = None) -> _Pulls:
        """Fetch every file of a model again; what differs or is damaged is replaced."""
        from casmodels.library import pulling
        from casmodels.library.options import PullOptions

        return pulling.redownload(self._context, model, options or PullOptions(), progress)

    def list(self, available: bool = False, type: str | None = None) -> _Models:  # noqa: A002
        """The models that are here; with ``available`` those too that are only known."""
        from casmodels.library import inventory

        return inventory.list_models(self._context, available=available, model_type=type)

    def aliases(self) -> dict[str, str]:
        """Every alias and the id that it stands for."""
        return self.registry.aliases()

    def info(self, model: str | None = None, type: str | None = None) -> _Models:  # noqa: A002
        """One model, or all that are here or known."""
        from casmodels.library import inventory

        return inventory.info(self._context, model, type)

    def has(self, target: str) -> bool:
        """Whether a version is here with every file that a pull takes by default; nobody is asked for it."""
        from casmodels.library import presence

        return presence.is_here(self._context, target)

    def checkpoint(
        self,
        name: str,
        path: _StrPath | None = None,
        message: str = "",
        tags: str | Sequence[str] = (),
        pin: bool = False,
        base: str | None = None,
        rehash: bool = False,
        type: str | None = None,  # noqa: A002
        progress: Progress | None = None,
    ) -> CheckpointResult:
        """Save a directory or file as a new version; without a path, the place last taken from or checked out to.

        ``type`` is what the model does (a `ModelType`); without one it is that of the version before.
        """
        from casmodels.library import saving

        options = saving.SaveOptions(message, tuple(_several(tags)), pin, base, rehash, model_type=type)
        return saving.checkpoint(self._context, name, _path(path), options, progress)

    def check_own_name(self, name: str) -> None:
        """Raise InvalidInputError or NameTakenError for a name that cannot be given to versions of the user's own."""
        from casmodels.library import names

        with self._context.engine().reading() as reader:
            names.check_own_name(reader, self.registry, name)

    def derive(
        self,
        name: str,
        changed: Mapping[str, bytes],
        removed: Collection[str],
        quantised: Quantised,
        message: str = "",
    ) -> CheckpointResult:
        """Save a version that was quantised from another of this store: the same files, but for some. Raises also
        what `checkpoint` does. `casmodels.quantize_model` makes the files."""
        from casmodels.library import deriving

        return deriving.derive(self._context, name, changed, removed, quantised, message)

    def versions(self, name: str | None = None) -> _Versions:
        """The versions of a name, or of all, newest first."""
        from casmodels.library import inventory

        return inventory.list_versions(self._context, name)

    def checkout(
        self,
        target: str,
        directory: _StrPath | None = None,
        force: bool = False,
        include: str | Sequence[str] = (),
        progress: Progress | None = None,
    ) -> CheckoutResult:
        """Bring a directory (``./NAME`` unless given) to a version by writing only what differs."""
        from casmodels.library import restoring

        return restoring.checkout(
            self._context, target, _path(directory), force=force, include=_several(include), progress=progress
        )

    def restore(self, target: str, force: bool = False, progress: Progress | None = None) -> CheckoutResult:
        """Bring the place that a version was taken from back to it."""
        from casmodels.library import restoring

        return restoring.restore(self._context, target, force=force, progress=progress)

    def restore_plan(self, target: str) -> str:
        """What `restore` would do, in one sentence."""
        from casmodels.library import restoring

        return restoring.restore_plan(self._context, target)

    def view(
        self,
        models: str | Sequence[str] = (),
        path: _StrPath | None = None,
        all_models: bool = False,
        link: str = "auto",
        progress: Progress | None = None,
    ) -> ViewResult:
        """Add models to a Hub cache (the store's own unless ``path`` is given)."""
        from casmodels.library import viewing

        return viewing.view(
            self._context, _several(models), _path(path), all_models=all_models, link=link, progress=progress
        )

    def remove_view(self, models: str | Sequence[str] = (), path: _StrPath | None = None) -> ViewResult:
        """Take models, or with none named everything that the store put there, out of a Hub cache."""
        from casmodels.library import viewing

        return viewing.remove_view(self._context, _several(models), _path(path))

    def view_categories(self, directory: _StrPath, link: str = "auto", progress: Progress | None = None) -> ViewResult:
        """Bring a directory to all models that are here, each in the folder of its type (`casmodels.configs.folders`).

        What is the user's there stays as it is and is named.
        """
        from casmodels.library import shelving

        return shelving.view_categories(self._context, Path(directory), link=link, progress=progress)

    def remove_categories(self, directory: _StrPath) -> ViewResult:
        """Take away what the store made in a view by category."""
        from casmodels.library import shelving

        return shelving.remove_categories(self._context, Path(directory))

    def show_view(self, path: _StrPath | None = None) -> ViewResult:
        """What a Hub cache holds."""
        from casmodels.library import viewing

        return viewing.show_view(self._context, _path(path))

    def path(self, target: str) -> str:
        """The snapshot directory of a version in the store's own view, made if needed."""
        from casmodels.library import viewing

        return viewing.path_of(self._context, target)

    def ls(self, target: str | None = None) -> _Entries | _Models:
        """The paths of a version; without one, the models that are here."""
        from casmodels.library import inventory

        if target is None:
            return self.list()
        return inventory.list_entries(self._context, target)

    def contents(self, target: str) -> ContentsResult:
        """The version that NAME[@VERSION] means now, and its files; links lead to the files' own bytes."""
        from casmodels.library import inventory

        return inventory.contents(self._context, target)

    def cat(self, target: str, path: str) -> Iterator[memoryview]:
        """The bytes of one file of a version."""
        from casmodels.library import inventory

        return inventory.read_path(self._context, target, path)

    def open(self, target: str, path: str) -> BufferedReader:
        """One file of a version, seekable and read-only: a range decodes only its chunks, each checked by its digest.

        It holds a lease until it is closed (or the store is), so gc keeps its bytes. Threads that share it share its
        position; a forked child may go on reading.
        """
        from casmodels.library import reading

        return reading.open_path(self._context, target, path)

    def load_tensors(
        self,
        target: str,
        *,
        path: str | None = None,
        names: str | Collection[str] | None = None,
        prefix: str = "",
        framework: str = "numpy",
        device: str | None = None,
    ) -> dict[str, Any]:
        """The tensors of a version by name, from its safetensors files or, where there are none, its torch archives.

        ``path`` is one file, the index of a sharded one, or a directory; ``names`` and ``prefix`` choose among the
        tensors. With ``framework="torch"`` they are torch's, on ``device``. A type that NumPy lacks, such as bfloat16,
        is that of ml_dtypes if it is installed, else one field of that name that holds the bits
        (``array["bfloat16"]``). Pickles are never executed. Tensors that share memory in the archive share it here.
        Beyond the tensors themselves it takes some tens of MiB. Raises NotFoundError, UnknownTensorError,
        UnreadableWeightsError, DamagedError, which names the file and the chunk.
        """
        from casmodels.library import loading

        wanted = loading.Wanted(path, frozenset(_several(names)) if names is not None else None, prefix)
        return loading.load(self._context, target, wanted, framework, device)

    def diff(self, a: str, b: str) -> DiffResult:
        """What differs between two versions: files, and within weights tensors, and by how much."""
        from casmodels.library import comparing

        return comparing.compare(self._context, a, b)

    def tag(self, target: str, tag: str) -> None:
        """Give a version a tag, which then does not move."""
        from casmodels.library import removal

        removal.tag(self._context, target, tag)

    def pin(self, target: str) -> None:
        """Protect a version from `remove`."""
        from casmodels.library import removal

        removal.pin(self._context, target)

    def unpin(self, target: str) -> None:
        """End the protection."""
        from casmodels.library import removal

        removal.unpin(self._context, target)

    def sign(
        self,
        target: str,
        private_key: _StrPath,
        password: str | Callable[[], str | None] | None = None,
        output: _StrPath | None = None,
    ) -> SignResult:
        """Sign a version as OpenSSF model signing does, and keep the signature with it; nothing is checked out.

        ``private_key`` is a PEM file of a key on P-256, P-384 or P-521; ``password`` is for one that is encrypted, or
        gives it when asked. The signature is written to ``output``, too. Raises SigningKeyError, MissingExtraError,
        and InvalidInputError for what cannot be signed.
        """
        from casmodels.library import signing

        asked = password if callable(password) else lambda: password
        return signing.sign(self._context, target, Path(private_key), asked, _path(output))

    def verify_signature(self, target: str, public_key: _StrPath, signature: _StrPath | None = None) -> SignatureResult:
        """Check that the owner of a key has signed a version: in a signature's file, or else in what is kept or in its
        own ``model.sig``.

        Whether the stored bytes are right is for `verify`. Raises SignatureError where none fits, NotSignedError,
        SigningKeyError, MissingExtraError, NotFoundError for no such file.
        """
        from casmodels.library import signing

        return signing.verify_signature(self._context, target, Path(public_key), _path(signature))

    def write_signature(self, target: str, output: _StrPath) -> WrittenSignature:
        """Write the signature of a version to a file, unchecked.

        Raises NotSignedError, InvalidInputError, NotFoundError for no directory.
        """
        from casmodels.library import signing

        return signing.write_signature(self._context, target, Path(output))

    def remove(self, target: str) -> RemoveResult:
        """Take away a version, or with a bare name all of its versions; the bytes stay until `gc`."""
        from casmodels.library import removal

        return removal.remove(self._context, target)

    def verify(
        self,
        target: str | None = None,
        data: bool = False,
        since: str | None = None,
        progress: Progress | None = None,
    ) -> VerifyResult:
        """Check the structure, or with ``data`` every stored byte."""
        from casmodels.library import upkeep

        return upkeep.verify(self._context, target, data=data, since=since, progress=progress)

    def repair(self, sources: Sequence[_StrPath] = (), progress: Progress | None = None) -> RepairResult:
        """Rebuild the index, set aside what is damaged, and heal it from an equal file, wherever one is known.

        ``sources`` are directories and files to look at as well. Only bytes whose digests fit are taken. Raises
        NotFoundError or InvalidInputError for one that is not there or cannot be read.
        """
        from casmodels.library import upkeep

        return upkeep.repair(self._context, [Path(source) for source in sources], progress)

    def gc(self, dry_run: bool = False, views_days: int | None = None, progress: Progress | None = None) -> GcResult:
        """Drop what no version needs, after what `cleanup` does."""
        from casmodels.library import upkeep

        return upkeep.collect(self._context, dry_run=dry_run, views_days=views_days, progress=progress)

    def compact(self, dry_run: bool = False, progress: Progress | None = None) -> CompactResult:
        """Store chunks against better bases, merge small packs, drop dead space."""
        from casmodels.library import upkeep

        return upkeep.compact(self._context, dry_run=dry_run, progress=progress)

    def cleanup(self, dry_run: bool = False) -> CleanupResult:
        """Remove unfinished downloads and temporary files."""
        from casmodels.library import leftovers

        return leftovers.cleanup(self._context, dry_run=dry_run)

    def stats(self, name: str | None = None) -> StatsResult:
        """Where the bytes go."""
        from casmodels.library import inventory

        return inventory.stats(self._context, name)

    def complete_names(self, prefix: str) -> _Names:
        """Names and aliases that begin so, for the shell."""
        from casmodels.library import inventory

        return inventory.complete_names(self._context, prefix)


def _several(given: str | Collection[str]) -> list[str]:
    """One text is one thing, and not its letters."""
    return [given] if isinstance(given, str) else list(given)


def _path(path: _StrPath | None) -> Path | None:
    return Path(path) if path is not None else None
