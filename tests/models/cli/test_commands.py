"""Each command: what it asks of the library, and the fields of its JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casmodels.library.options import PullOptions
from tests.models.cli import fake
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import DIFF, ID, MIB

# The fields that CLI.md promises; more may be there.
PULL = {
    "model", "repo", "status", "version", "revision", "files", "left_out", "size_bytes", "downloaded_bytes",
    "stored_bytes", "seconds", "path", "error",
}  # fmt: skip
MODEL = {"id", "name", "type", "aliases", "repo", "installed"}
VERSION = {
    "version", "tags", "created", "source", "revision", "message", "files", "size_bytes", "stored_bytes"
}  # fmt: skip
CHECKOUT = {"version", "files", "size_bytes", "written_bytes", "seconds"}
VIEW = {"hf_home", "models", "views_bytes"}
STATS = {
    "logical_bytes", "unique_bytes", "stored_bytes", "index_bytes", "views_bytes", "models", "versions",
    "chunks", "by_codec",
}  # fmt: skip
DOCUMENTS: list[tuple[str, set[str]]] = [
    ("pull ada-002", PULL),
    ("pull --list list.json", PULL),
    ("redownload ada-002", PULL),
    ("list", MODEL),
    ("list --available --type text-embedding", MODEL),
    ("aliases", MODEL),
    ("info ada-002", MODEL),
    ("info", MODEL),
    ("checkpoint mine .", {"name", "version", "parent", "files", "size_bytes", "stored_bytes", "seconds"}),
    ("versions mine", VERSION),
    ("checkout mine@best dir", CHECKOUT),
    ("restore mine --yes", CHECKOUT),
    ("view ada-002", VIEW),
    ("view", VIEW),
    ("view --remove ada-002", VIEW),
    ("view --layout categories dir", VIEW | {"layout", "path", "folders"}),
    ("path ada-002", {"path"}),
    ("ls mine", {"path", "kind", "size_bytes", "mode", "digest", "target"}),
    ("diff mine@~1 mine", {"a", "b", "same", "files", "unchanged_files", "tensors", "unchanged_tensors"}),
    ("tag mine best", {"target", "tag"}),
    ("pin mine", {"target", "pinned"}),
    ("unpin mine", {"target", "pinned"}),
    ("sign mine --key k.pem", {"name", "version", "key", "files", "unsigned", "replaced", "output"}),
    ("sign mine --output out.sig", {"name", "version", "source", "output"}),
    ("remove mine", {"name", "versions", "freeable_bytes"}),
    ("verify", {"ok", "data", "checked_bytes", "damaged"}),
    ("verify mine --key k.pem", {"ok", "data", "checked_bytes", "damaged", "signature"}),
    ("repair", {"recovered_versions", "healed_chunks", "lost"}),
    ("repair --from a --from b/c", {"recovered_versions", "healed_chunks", "lost"}),
    ("gc", {"reclaimed_bytes", "chunks", "packs", "seconds"}),
    ("cleanup", {"reclaimed_bytes"}),
    ("stats", STATS),
]
LISTS = {"pull", "redownload", "list", "aliases", "versions", "ls"}


@pytest.mark.parametrize(("line", "fields"), DOCUMENTS)
def test_json_is_one_document_with_the_promised_fields(command: Runner, line: str, fields: set[str]) -> None:
    ran = command("--json", *line.split())
    assert ran.code == 0
    assert ran.err == ""
    document = ran.document
    assert isinstance(document, list) == (line.split()[0] in LISTS or line == "info")
    entry: dict[str, Any] = document[0] if isinstance(document, list) else document
    assert fields <= entry.keys()


@pytest.mark.parametrize("line", [line for line, _ in DOCUMENTS])
def test_json_may_be_asked_for_after_the_command(command: Runner, line: str) -> None:
    assert command(*line.split(), "--json").out == command("--json", *line.split()).out != ""


@pytest.mark.parametrize("line", [line for line, _ in DOCUMENTS if not line.startswith("view --remove")])
def test_people_get_short_lines(command: Runner, line: str) -> None:
    ran = command(*line.split())
    assert ran.code == 0
    assert ran.out.endswith("\n")
    assert "{" not in ran.out
    assert max(map(len, ran.out.splitlines())) < 160


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("list", ("list", (), {"available": False, "type": None})),
        ("list --available --type instruct", ("list", (), {"available": True, "type": "instruct"})),
        ("info", ("info", (None,), {"type": None})),
        ("versions", ("versions", (None,), {})),
        ("tag mine@~1 best", ("tag", ("mine@~1", "best"), {})),
        ("pin mine", ("pin", ("mine",), {})),
        ("unpin mine", ("unpin", ("mine",), {})),
        ("remove mine@best", ("remove", ("mine@best",), {})),
        ("path mine", ("path", ("mine",), {})),
        ("ls", ("ls", (None,), {})),
        ("cat mine a/b", ("cat", ("mine", "a/b"), {})),
        ("diff mine@~1 other", ("diff", ("mine@~1", "other"), {})),
        ("cleanup", ("cleanup", (False,), {})),
        ("stats mine", ("stats", ("mine",), {})),
        ("view --remove a b --path v", ("remove_view", (["a", "b"], Path("v")), {})),
        ("view", ("show_view", (None,), {})),
    ],
)
def test_what_the_library_is_asked(command: Runner, line: str, call: object) -> None:
    assert command(*line.split()).calls == [call]


def _asked(command: Runner, line: str) -> tuple[Any, ...]:
    """The arguments of the only call, without the progress at their end."""
    calls = command(*line.split()).calls
    assert len(calls) == 1
    *arguments, progress = calls[0][1]
    assert hasattr(progress, "start")
    return tuple(arguments)


def test_all_options_of_pull_arrive(command: Runner) -> None:
    line = (
        "pull org/a --revision v2 --include *.json --include *.txt --exclude x --all-files --name mine "
        "--checksum sha256:00 --force --workers 3 --dry-run --offline --no-low-priority"
    )
    options = PullOptions(
        revision="v2",
        include=("*.json", "*.txt"),
        exclude=("x",),
        all_files=True,
        name="mine",
        checksum="sha256:00",
        force=True,
        workers=3,
        dry_run=True,
        offline=True,
        low_priority=False,
    )
    assert _asked(command, line) == (["org/a"], options)


def test_pull_leaves_to_the_configuration_what_was_not_said(command: Runner) -> None:
    assert _asked(command, "pull a b") == (["a", "b"], PullOptions())
    assert _asked(command, "pull --all") == ([], PullOptions(all_models=True))


def test_the_options_of_the_other_long_commands_arrive(command: Runner) -> None:
    line = "checkpoint mine dir -m text --tag a --tag b --pin --base x@1 --rehash --type instruct"
    assert _asked(command, line) == ("mine", Path("dir"), "text", ("a", "b"), True, "x@1", True, "instruct")
    assert _asked(command, "checkpoint mine") == ("mine", None, "", (), False, None, False, None)
    assert _asked(command, "checkout mine d --force --include *.json") == ("mine", Path("d"), True, ("*.json",))
    assert _asked(command, "view a b --link copy --path v") == (["a", "b"], Path("v"), False, "copy")
    assert _asked(command, "view --all") == ([], None, True, "auto")
    assert _asked(command, "verify mine --data --since 7d") == ("mine", True, "7d")
    assert _asked(command, "gc --dry-run --views 30") == (True, 30)
    assert _asked(command, "redownload a --workers 1") == ("a", PullOptions(force=True, workers=1))


def test_the_store_is_the_one_that_was_named_wherever_the_option_stands(command: Runner, tmp_path: Path) -> None:
    from tests.models.cli.fake import FakeStore

    command("--store", str(tmp_path / "a"), "list")
    command("list", "--store", str(tmp_path / "b"))
    command("list")
    assert [path for path, _ in FakeStore.opened] == [tmp_path / "a", tmp_path / "b", tmp_path / "store"]


def test_pull_ends_with_the_next_command_and_says_what_was_left_out(command: Runner) -> None:
    lines = command("pull", "ada-002").out.splitlines()
    assert "11 files, 90.0 MiB" in lines[0]
    assert "left out 2 files, 250.0 MiB (pytorch_model.bin, tf_model.h5)" in lines[1]
    assert lines[-1] == 'next: eval "$(casmodels view ada-002)"'


def test_remove_says_how_to_get_it_back(command: Runner) -> None:
    ran = command("remove", "mine")
    assert "would free 1.0 MiB" in ran.out
    assert f"casmodels tag mine@{ID[7:19]} TAG" in ran.out


def test_cat_writes_the_bytes_as_they_are(command: Runner) -> None:
    assert command("cat", "mine", "f").out_bytes == b"\x00\xffbytes"


def test_diff_says_how_much(command: Runner) -> None:
    ran = command("diff", "mine@~1", "mine")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["mine@" + ID[7:19], "->", "mine@" + "cd" * 6]
    assert ["changed", "1.0", "MiB", "2.0", "MiB", "model.safetensors"] in lines
    assert ["retyped", "F32", "->", "BF16", "2x3", "50.0", "%", "0.001", "0.0002", "a.weight"] in lines
    assert ran.out.endswith("unchanged: 1 file, 7 tensors\n")
    assert "after widening" in ran.err
    document = command("diff", "a", "b", "--json").document
    assert document["tensors"][1]["change"]["share"] == 0.5
    assert document["tensors"][2]["change"]["max_absolute"] is None


def test_diff_of_equals(command: Runner) -> None:
    command.answer("diff", replace(DIFF, same=True))
    assert command("diff", "a", "b").out == f"mine@{ID[7:19]} and mine@{'cd' * 6} hold the same files\n"


def test_cat_has_no_json(command: Runner) -> None:
    ran = command("cat", "mine", "f", "--json")
    assert ran.code == 2
    assert ran.calls == []
    assert ran.document["error"]["kind"] == "usage"


def test_quiet_leaves_out_what_was_not_asked_for(command: Runner) -> None:
    assert command("-q", "pull", "ada-002").out == ""
    assert command("gc", "-q").out == ""
    assert command("-q", "list").out == command("list").out != ""
    assert command("-q", "path", "x").out == command("path", "x").out != ""


def test_restore_asks_first_and_without_a_terminal_wants_to_be_told(command: Runner) -> None:
    ran = command("restore", "mine")
    assert ran.code == 2
    assert "writes 1 file to /tmp/mine" in ran.err
    assert "--yes" in ran.err
    assert [name for name, _, _ in ran.calls] == ["restore_plan"]


def test_an_empty_store_says_so_on_stderr(command: Runner) -> None:
    command.answer("list", [])
    ran = command("list")
    assert ran.code == 0
    assert "nothing is here yet" in ran.err
    assert command("list", "--json").out == "[]\n"


def test_sizes_and_shares_in_stats(command: Runner) -> None:
    out = command("stats").out
    assert "2.0 MiB (50.0 %)" in out
    assert "byteplane" in out
    assert command("stats", "--json").document["by_codec"]["byteplane"]["stored_bytes"] == 2 * MIB


def test_damaged_versions_are_listed_and_told(command: Runner) -> None:
    lost = replace(
        fake.VERSION, created=None, source=None, message=None, files=None, size_bytes=None, stored_bytes=None,
        damaged="its record cannot be read",
    )  # fmt: skip
    command.answer("versions", [lost, fake.VERSION])
    command.answer("list", [replace(fake.MODEL, versions=3, damaged=1)])
    for line in ("versions mine", "list"):
        ran = command(*line.split())
        assert ran.code == 4
        assert "1 version damaged; run `casmodels repair`" in ran.err
        assert "damaged" in ran.out
    ran = command("versions", "mine", "--json")
    assert ran.code == 4
    assert [(version["damaged"], version["files"]) for version in ran.document] == [
        ("its record cannot be read", None),
        (None, 3),
    ]
    assert command("list", "--json").document[0]["damaged"] == 1


def test_what_a_list_leaves_out_is_taken_by_its_files(command: Runner) -> None:
    assert "tf_model.h5); --all-files takes all" in command("pull", "ada-002").out
    assert "tf_model.h5); 'files' in the list takes others" in command("pull", "--list", "list.json").out
