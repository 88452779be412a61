"""A library that answers what it is told to, so that the command line can be looked at alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from casmodels.results import (
    Change,
    CheckoutResult,
    CheckpointResult,
    CleanupResult,
    DiffResult,
    EntryResult,
    FileDiff,
    GcResult,
    LeftOut,
    ModelResult,
    PullResult,
    PullStatus,
    RemoveResult,
    RepairResult,
    SideResult,
    SignatureResult,
    SignResult,
    StatsResult,
    TensorDiff,
    VerifyResult,
    VersionResult,
    ViewResult,
    WrittenSignature,
)

MIB = 1024 * 1024
ID = "blake3:" + "ab" * 32
KEY = "cd" * 32
PULLED = PullResult(
    model="ada-002",
    repo="sentence-transformers/all-MiniLM-L6-v2",
    status=PullStatus.COMPLETED,
    name="sentence-transformers/all-MiniLM-L6-v2",
    version=ID,
    revision="c" * 40,
    files=11,
    left_out=LeftOut(files=2, size_bytes=250 * MIB, paths=("pytorch_model.bin", "tf_model.h5")),
    size_bytes=90 * MIB,
    downloaded_bytes=90 * MIB,
    stored_bytes=74 * MIB,
    seconds=12.34,
)
MODEL = ModelResult(
    id="embedding-ada-002",
    name="sentence-transformers/all-MiniLM-L6-v2",
    type="text-embedding",
    aliases=("text-embedding-ada-002", "ada-002"),
    repo="sentence-transformers/all-MiniLM-L6-v2",
    installed=True,
    versions=1,
    size_bytes=90 * MIB,
    stored_bytes=74 * MIB,
    parameters="23M",
    context_length=512,
    licence="apache-2.0",
    base_models=("nreimers/MiniLM-L6-H384-uncased",),
)
VERSION = VersionResult(
    name="mine",
    version=ID,
    tags=("best",),
    created="2026-01-02T03:04:05+00:00",
    source="file:///tmp/mine",
    revision=None,
    message="after 3 epochs",
    files=3,
    size_bytes=MIB,
    stored_bytes=MIB // 2,
    pinned=True,
)
CHECKED_OUT = CheckoutResult(
    name="mine",
    version=ID,
    path="/tmp/mine",
    files=3,
    size_bytes=MIB,
    written_bytes=1024,
    written_files=1,
    seconds=0.25,
)
VIEW = ViewResult(
    hf_home="/tmp/a view",
    models=("org/name",),
    views_bytes=90 * MIB,
    exports={"HF_HOME": "/tmp/a view", "HF_HUB_OFFLINE": "1"},
)
SHELF = replace(VIEW, layout="categories", path="/tmp/models", folders={"org/name": "other/name"})
DIFF = DiffResult(
    a=SideResult("mine", ID),
    b=SideResult("mine", ID.replace("ab", "cd")),
    same=False,
    files=(
        FileDiff("model.safetensors", "changed", MIB, 2 * MIB, "sha256:" + "0" * 64, "sha256:" + "1" * 64),
        FileDiff("new.txt", "added", None, 12),
    ),
    unchanged_files=1,
    tensors=(
        TensorDiff("a.bias", "added", path_b="model.safetensors", dtype_b="F32", shape_b=(3,)),
        TensorDiff(
            *("a.weight", "retyped", "model.safetensors", "model.safetensors", "F32", "BF16", (2, 3), (2, 3)),
            change=Change(6, 3, 0.5, 0.001, 0.0002, None, 0),
        ),
        TensorDiff("p", "changed", None, None, "F4", "F4", (2,), (2,), Change(2)),
    ),
    unchanged_tensors=7,
)
ANSWERS: dict[str, Any] = {
    "pull": [PULLED],
    "pull_list": [PULLED],
    "redownload": [PULLED],
    "list": [MODEL],
    "aliases": {"ada-002": "embedding-ada-002"},
    "info": [MODEL],
    "checkpoint": CheckpointResult("mine", ID, None, 3, MIB, MIB // 2, 0.5, read_files=3),
    "versions": [VERSION],
    "checkout": CHECKED_OUT,
    "restore": CHECKED_OUT,
    "restore_plan": "writes 1 file to /tmp/mine",
    "view": VIEW,
    "remove_view": VIEW,
    "view_categories": SHELF,
    "remove_categories": replace(SHELF, exports={}, models=(), folders={}),
    "show_view": VIEW,
    "path": "/tmp/view/hub/models--org--name/snapshots/1",
    "ls": [EntryResult("config.json", "file", 12, "100644", digest="sha256:" + "0" * 64)],
    "cat": [b"\x00\xff", memoryview(b"bytes")],
    "diff": DIFF,
    "tag": None,
    "pin": None,
    "unpin": None,
    "remove": RemoveResult("mine", (ID,), MIB),
    "sign": SignResult("mine", ID, KEY, 3, (".gitattributes",)),
    "verify_signature": SignatureResult("mine", ID, "kept", KEY, 3),
    "write_signature": WrittenSignature("mine", ID, "kept", "out.sig"),
    "verify": VerifyResult(ok=True, data=False, checked_bytes=MIB, damaged=(), versions=1, chunks=2, seconds=0.1),
    "repair": RepairResult(1, 0, ()),
    "gc": GcResult(MIB, 3, 1, 0.2),
    "cleanup": CleanupResult(MIB, removed=2),
    "stats": StatsResult(
        4 * MIB, 3 * MIB, 2 * MIB, 1024, 0, 1, 2, 3, {"byteplane": {"chunks": 3, "stored_bytes": 2 * MIB}}
    ),
    "complete_names": ["ada-002", "adam"],
}


class FakeStore:
    """Records the calls, gives the answers; an answer that is an exception is raised, a function is called."""

    answers: ClassVar[dict[str, Any]] = dict(ANSWERS)
    calls: ClassVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []
    opened: ClassVar[list[Any]] = []

    def __init__(self, path: Any = None, *, config: Any = None, registry: Any = None) -> None:
        self.opened.append((path, config))

    def __enter__(self) -> FakeStore:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def answer(*arguments: Any, **named: Any) -> Any:
            self.calls.append((method, arguments, named))
            given = self.answers[method]
            if isinstance(given, BaseException):
                raise given
            answered = given(*arguments, **named) if callable(given) else given
            return iter(answered) if method == "cat" else answered

        return answer


def endless_bytes() -> Iterator[bytes]:
    while True:
        yield b"\0" * 65536
