"""The errors of the models layer; they stand on the engine's tree (`casstore.errors`)."""

from __future__ import annotations

from collections.abc import Sequence

from casstore.errors import FailedError, IntegrityError, InvalidInputError, NotFoundError, StoreError


class ConfigurationError(InvalidInputError):
    """A configuration file or environment variable cannot be read."""

    kind = "configuration"


class MissingExtraError(InvalidInputError):
    """A part of casmodels is asked for whose dependencies were not installed."""

    kind = "missing-extra"

    def __init__(self, extra: str) -> None:
        super().__init__(f"the extra {extra!r} is not installed", remedy=f"run `pip install 'casmodels[{extra}]'`")
        self.extra = extra


class MissingPackageError(InvalidInputError):
    """Something is asked for that needs a package which is not installed, and which casmodels does not bring."""

    kind = "missing-package"

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed", remedy=f"run `pip install {package}`")
        self.package = package


class RegistryError(InvalidInputError):
    """Model specs contradict each other, such as two that claim one alias."""

    kind = "registry"


class NameTakenError(InvalidInputError):
    """A name is an alias, a registered model or a Hub id already."""

    kind = "name-taken"


class SigningKeyError(InvalidInputError):
    """A file is not the key that is needed to sign or to check, or its password is wrong."""

    kind = "signing-key"


class SignatureError(IntegrityError):
    """A signature does not fit what it is said to be of, or the key; or it is none."""

    kind = "signature"


class NotSignedError(NotFoundError):
    """The version has no signature."""

    kind = "not-signed"

    def __init__(self, version: str) -> None:
        super().__init__(
            f"{version} is not signed",
            remedy=f"`casmodels sign {version} --key private.pem` signs it; --signature names a signature's file",
        )
        self.version = version


class UnknownModelError(NotFoundError):
    """No model goes by that name; ``nearest`` are the names most like it."""

    kind = "unknown-model"

    def __init__(self, model: str, nearest: Sequence[str] = ()) -> None:
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`casmodels aliases` lists what is known"
        super().__init__(f"no model is called {model!r}", remedy=hint)
        self.model = model
        self.nearest = tuple(nearest)


class UnknownVersionError(NotFoundError):
    """The name exists, the version does not."""

    kind = "unknown-version"


class UnknownTensorError(NotFoundError):
    """The version has no tensor of that name; ``nearest`` are the names most like it."""

    kind = "unknown-tensor"

    def __init__(self, version: str, tensor: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        self.nearest = tuple(get_close_matches(tensor, known, n=3, cutoff=0.4))
        hint = f"did you mean {' or '.join(self.nearest)}?" if self.nearest else f"it has {len(known)} others"
        super().__init__(f"{version} has no tensor {tensor!r}", remedy=hint)
        self.tensor = tensor


class UnreadableWeightsError(InvalidInputError):
    """A file of weights, or a tensor in it, is kept in a way that is not understood; its bytes may still be right."""

    kind = "unreadable-weights"


class NotLoadableError(InvalidInputError):
    """No loader knows what to do with the version, or the one that does cannot read it."""

    kind = "not-loadable"


class NotQuantisableError(InvalidInputError):
    """A model cannot be quantised, or not to that type."""

    kind = "not-quantisable"


class UnsafeModelError(InvalidInputError):
    """Loading the file would execute code that is in it."""

    kind = "unsafe-model"

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        super().__init__(
            f"{what}: to load it would execute code from the file",
            remedy=remedy
            or "take it in a format of numbers only, such as safetensors or ONNX; what executes code "
            "belongs into a sandbox, which casmodels does not have yet",
        )


class DeviceError(InvalidInputError):
    """There is no such device, or not for this kind of model."""

    kind = "device"


class MetricError(InvalidInputError):
    """The user's own measure of a model's results fails, or gives no number."""

    kind = "metric"


class UnloadedError(InvalidInputError):
    """The model was unloaded before it was asked for something."""

    kind = "unloaded"

    def __init__(self, version: str) -> None:
        super().__init__(f"{version} is unloaded", remedy="load it again")


class NotLoadedError(NotFoundError):
    """No model of that name is loaded; ``loaded`` are those that are."""

    kind = "not-loaded"

    def __init__(self, model: str, loaded: Sequence[str]) -> None:
        hint = f"loaded are {', '.join(loaded)}" if loaded else "nothing is loaded"
        super().__init__(f"{model} is not loaded", remedy=hint)
        self.model = model
        self.loaded = tuple(loaded)


class DownloadFailedError(FailedError):
    """A model could not be brought in; ``reason`` is the kind of the error that stopped it."""

    kind = "download-failed"

    def __init__(self, model: str, reason: str, message: str, remedy: str | None) -> None:
        super().__init__(f"{model} could not be downloaded: {message}", remedy=remedy)
        self.model = model
        self.reason = reason


class BrokenLoaderError(FailedError):
    """A loader that another package brings, or a library of an extra, cannot be used."""

    kind = "broken-loader"


class NoRoomError(FailedError):
    """A model does not fit in the memory that is free."""

    kind = "no-room"


class WorkerDiedError(FailedError):
    """The process in which a model was loaded has ended."""

    kind = "worker-died"


class WrongBytesError(IntegrityError):
    """A file arrived with bytes that are not what the Hub, or the user's checksum, says."""

    kind = "wrong-bytes"


class UpstreamError(FailedError):
    """The other side, or the way there, failed or refused."""

    kind = "upstream"


class NetworkError(UpstreamError):
    """No answer, an answer cut short, or too many failures in a row."""

    kind = "network"


class AccessError(UpstreamError):
    """Upstream refuses: gated, private, or a bad token."""

    kind = "access"


class OfflineError(UpstreamError):
    """The network is needed but `--offline` or HF_HUB_OFFLINE forbids it."""

    kind = "offline"


class MissingUpstreamError(NotFoundError):
    """Upstream answers that the repo, revision or file does not exist."""

    kind = "missing-upstream"


class MissingRevisionError(MissingUpstreamError):
    """The repo exists upstream, the revision does not."""

    kind = "missing-revision"


class InterruptedPullError(FailedError):
    """Ctrl-C, or a cancelled future: the next run resumes."""

    kind = "interrupted"


def with_remedy(message: str, remedy: str | None) -> str:
    """An error as one line: what is wrong, and what to do about it."""
    return f"{message}; {remedy}" if remedy else message


__all__ = [
    "AccessError",
    "BrokenLoaderError",
    "ConfigurationError",
    "DeviceError",
    "DownloadFailedError",
    "InterruptedPullError",
    "MetricError",
    "MissingExtraError",
    "MissingPackageError",
    "MissingRevisionError",
    "MissingUpstreamError",
    "NameTakenError",
    "NetworkError",
    "NoRoomError",
    "NotLoadableError",
    "NotLoadedError",
    "NotQuantisableError",
    "NotSignedError",
    "OfflineError",
    "RegistryError",
    "SignatureError",
    "SigningKeyError",
    "StoreError",
    "UnknownModelError",
    "UnknownTensorError",
    "UnknownVersionError",
    "UnloadedError",
    "UnreadableWeightsError",
    "UnsafeModelError",
    "UpstreamError",
    "WorkerDiedError",
    "WrongBytesError",
    "with_remedy",
]
