"""Which files of a repo a pull takes when the user does not say: one weight format, and all that goes with
it.

Weights lie in a repo several times over: as safetensors and as torch's pickles, whole and in shards, in half
precision (variants), exported for other runtimes, as training state. The choice is made per directory,
because a directory is what a library loads (a sentence-transformers module, a diffusers component), and only
between files of one role there: a file without a counterpart in a better form is always taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from casmodels.sources.listing import LeftOutFile, Selection, UpstreamFile
from casmodels.sources.weights import (
    FALLBACKS,
    LOADABLE,
    SAFETENSORS,
    Weights,
    format_of,
    index_of,
    weights_of,
)

SMALL_BYTES: Final = 10 * 1024 * 1024
"""Up to here a file that is neither weights nor known to be needed is taken."""

_NEEDED: Final = re.compile(
    r"\.(?:jsonl?|txt|model|md|py|jinja|ya?ml|toml|tiktoken|vocab|bpe|spm|merges)\Z", re.IGNORECASE
)
"""Taken whatever their size: a tokenizer is often over 10 MB."""
_VARIANTS: Final = ("", "fp32", "float32", "bf16", "bfloat16", "fp16", "float16")
"""Which variant is taken where there are several, best first; others come after these."""
_TRAINING: Final = re.compile(
    r"(?:optimizer|optim|scheduler|scaler|rng_state|random_states|training_state)\b|rng_state_"
)
_TRAINING_FOLDER: Final = re.compile(r"(?:checkpoint-\d+|global_step\d+)\Z")
_NATIVE: Final = re.compile(r"consolidated\b")
_NATIVE_FOLDER: Final = "original"
_PIPELINE: Final = "model_index.json"


class _Form(NamedTuple):
    """One of the forms in which the same weights lie in a directory."""

    variant: str
    format: str
    shards: int


def select_files(
    files: Sequence[UpstreamFile],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    *,
    all_files: bool = False,
) -> Selection:
    """Choose. ``include`` and ``exclude`` are the Hub's patterns: fnmatch over the whole path; ``dir/`` is
    ``dir/*``.

    With ``include`` exactly what matches is taken; ``exclude`` takes away in every case, before a format is
    chosen.
    """
    reasons: dict[str, str] = {}
    for file in files:
        if include and not _matches(file.path, include):
            reasons[file.path] = "not included"
        elif _matches(file.path, exclude):
            reasons[file.path] = "excluded"
    if not include and not all_files:
        reasons |= _surplus([file for file in files if file.path not in reasons])
    return Selection(
        chosen=tuple(file for file in files if file.path not in reasons),
        left_out=tuple(LeftOutFile(file, reasons[file.path]) for file in files if file.path in reasons),
    )


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern) for pattern in patterns)


def _surplus(files: Sequence[UpstreamFile]) -> dict[str, str]:
    """The paths that a pull does without, and why."""
    paths = {file.path for file in files}
    formats = {path: found for path in paths if (found := format_of(path, paths)) is not None}
    reasons = _training_state(formats)
    wanted = _wanted(formats[path] for path in formats.keys() - reasons.keys())
    if not wanted:
        # Nothing here is known to be weights, so any large file may be.
        return {}
    for path in formats.keys() - reasons.keys():
        if formats[path] not in wanted:
            reasons[path] = f"in the {formats[path]} format"
    weights = {
        path: weights_of(path, formats[path]) for path in formats.keys() - reasons.keys() if formats[path] in LOADABLE
    }
    reasons |= _same_weights(weights)
    reasons |= _same_model_elsewhere(weights, reasons, is_pipeline=_PIPELINE in paths)
    for file in files:
        if file.path in formats:
            continue
        index = index_of(file.path)
        shards = [path for path, one in weights.items() if index is not None and _is_for(index, one)]
        if shards and all(path in reasons for path in shards):
            reasons[file.path] = "the index of weights that are left out"
        elif file.size_bytes > SMALL_BYTES and not _NEEDED.search(file.path):
            reasons[file.path] = "large, and not weights"
    return reasons


def _wanted(formats: Iterable[str]) -> frozenset[str]:
    present = set(formats)
    if present & LOADABLE:
        return LOADABLE
    return frozenset(next(([name] for name in FALLBACKS if name in present), []))


def _training_state(formats: Mapping[str, str]) -> dict[str, str]:
    """What only goes on with the training: optimizers, and whole checkpoints beside a finished model."""
    reasons = {
        path: "training state"
        for path, found in formats.items()
        if found in LOADABLE and _TRAINING.match(PurePosixPath(path).name.lower())
    }
    inside = {
        path for path in formats if any(_TRAINING_FOLDER.match(folder) for folder in PurePosixPath(path).parts[:-1])
    }
    if any(formats[path] in LOADABLE for path in formats.keys() - inside - reasons.keys()):
        reasons |= dict.fromkeys(inside, "a training checkpoint")
    return reasons


def _same_weights(weights: Mapping[str, Weights]) -> dict[str, str]:
    """Of the forms that one model has in its directory, all but the one that a library would load."""
    models: dict[tuple[str, str], dict[_Form, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, one in weights.items():
        models[one.directory, one.role][_Form(one.variant, one.format, one.count)].append(path)
    reasons: dict[str, str] = {}
    for forms in models.values():
        complete = [
            form for form, paths in forms.items() if form.shards in (0, len({weights[path].number for path in paths}))
        ]
        if not complete:
            continue
        best = min(complete, key=_rank)
        for form, paths in forms.items():
            if form != best:
                reasons |= dict.fromkeys(paths, _why_not(form, best, is_complete=form in complete))
    return reasons


def _rank(form: _Form) -> tuple[int, str, bool, int]:
    known = form.variant in _VARIANTS
    rank = _VARIANTS.index(form.variant) if known else len(_VARIANTS)
    return rank, form.variant, form.format != SAFETENSORS, form.shards


def _why_not(form: _Form, best: _Form, *, is_complete: bool) -> str:
    if not is_complete:
        return "shards are missing"
    if form.variant != best.variant:
        return f"the {form.variant} variant" if form.variant else f"the {best.variant} variant is taken"
    if form.format != best.format:
        return f"the same weights as {best.format} are taken"
    return "the same weights in other shards are taken"


def _same_model_elsewhere(
    weights: Mapping[str, Weights], left_out: Mapping[str, str], *, is_pipeline: bool
) -> dict[str, str]:
    """The same model once more: in its maker's own format, or as one file beside a pipeline's parts."""
    taken = {path: one for path, one in weights.items() if path not in left_out}
    directories = {one.directory for one in taken.values()}
    common = {one.directory for one in taken.values() if not _NATIVE.match(one.role)}
    reasons: dict[str, str] = {}
    for path, one in taken.items():
        here = PurePosixPath(one.directory)
        is_native = _NATIVE.match(one.role) and one.directory in common
        if is_native or (here.name == _NATIVE_FOLDER and str(here.parent) in directories):
            reasons[path] = "the same weights in their maker's own format"
        elif is_pipeline and one.directory == "." and len(directories) > 1:
            reasons[path] = "the same weights as the pipeline's parts"
    return reasons


def _is_for(index: Weights, weights: Weights) -> bool:
    """Whether those weights are shards that the index lists."""
    listed = (index.directory, index.role, index.variant, index.format)
    return weights.count > 0 and listed == (weights.directory, weights.role, weights.variant, weights.format)
