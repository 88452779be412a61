"""What is told of two versions that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SideResult:
    """One of the two versions."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A path that differs. ``status`` is added, removed or changed; what is not on a side is null there.

    A ``digest`` is a file's SHA-256; ``note`` says what differs besides the bytes, or why tensors were not compared.
    """

    path: str
    status: str
    size_bytes_a: int | None = None
    size_bytes_b: int | None = None
    digest_a: str | None = None
    digest_b: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the numbers of two tensors differ, each widened to 64-bit floats first.

    ``differing`` of ``elements`` numbers differ: where the types are the same in any bit, else in value. Of the
    differences that are finite, the largest and the mean over all elements; ``relative_l2`` is the norm of the
    differences over that of A, null where that is 0. ``not_finite`` differing numbers are infinite or no numbers on a
    side. All but ``elements`` is null for types that cannot be widened, which are compared as bytes.
    """

    elements: int
    differing: int | None = None
    share: float | None = None
    max_absolute: float | None = None
    mean_absolute: float | None = None
    relative_l2: float | None = None
    not_finite: int | None = None


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """A tensor that differs. ``status`` is added, removed, reshaped, retyped, changed, or unreadable, and then ``note``
    says why it was not compared.

    ``reshaped`` has another shape (then its numbers are not compared), ``retyped`` another type: its numbers are
    compared after widening, and without a ``change`` none differs.
    """

    name: str
    status: str
    path_a: str | None = None
    path_b: str | None = None
    dtype_a: str | None = None
    dtype_b: str | None = None
    shape_a: tuple[int, ...] | None = None
    shape_b: tuple[int, ...] | None = None
    change: Change | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class DiffResult:
    """Two versions compared. The tensors are those of the files that differ; ``unchanged_tensors`` of theirs are equal,
    and so are ``unchanged_files`` whole files."""

    a: SideResult
    b: SideResult
    same: bool
    files: tuple[FileDiff, ...]
    unchanged_files: int
    tensors: tuple[TensorDiff, ...]
    unchanged_tensors: int
