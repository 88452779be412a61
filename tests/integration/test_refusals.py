"""What must be refused, end to end: one sentence, the right exit code, and a store that is whole afterwards."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from casmodels.cli.program import run
from casmodels.downloads.retries import Attempts
from casstore import files
from tests.hub import FakeHub, Fault

REPO = "org/model"
WEIGHTS = bytes(range(256)) * 400
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
DISK_USAGE = shutil.disk_usage
FILE = f"{REPO}/model.safetensors"


@dataclass
class Scene:
    """A store that holds ``mine`` and ``gpt-own``, a hub, and a directory to work in (the current one)."""

    here: Path
    hub: FakeHub
    environment: pytest.MonkeyPatch

    @property
    def store(self) -> Path:
        return self.here / "store"

    def setting(self, **variables: str) -> None:
        for name, value in variables.items():
            self.environment.setenv(name, value)

    def undo(self) -> None:
        """Take away what a row set, but for what it put on the disk."""
        self.environment.setattr(files, "_hook", None)
        self.environment.setattr("shutil.disk_usage", DISK_USAGE)
        self.setting(HF_ENDPOINT=self.hub.url)
        self.configure("")

    def configure(self, text: str) -> None:
        (self.here / "config.toml").write_text(text)

    def directory(self, name: str = "strange") -> Path:
        path = self.here / name
        path.mkdir()
        (path / "config.json").write_text("{}")
        return path


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in os.environ:
        if name.startswith(("CASMODELS", "HF_", "HTTP", "http", "ALL_PROXY", "all_proxy")):
            monkeypatch.delenv(name)
    with FakeHub() as hub:
        scene = Scene(tmp_path, hub, monkeypatch)
        scene.setting(
            CASMODELS_CONFIG=str(tmp_path / "config.toml"),
            CASMODELS_HOME=str(scene.store),
            HF_HOME=str(tmp_path / "hf"),
            HF_ENDPOINT=hub.url,
        )
        scene.configure("")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(Attempts, "_pause_seconds", lambda *_: 0.0)
        hub.add(REPO, FILES)
        (scene.directory("mine") / "model.safetensors").write_bytes(WEIGHTS[::-1])
        assert run(["-q", "checkpoint", "mine", "mine", "--tag", "best"]) == 0
        yield scene


def nothing(scene: Scene) -> None:
    """The input itself is what is wrong."""


def fault(path: str, what: Fault) -> Callable[[Scene], None]:
    return lambda scene: scene.hub.fault(path, what)


def gated(scene: Scene) -> None:
    scene.hub.add("org/gated", FILES, gated=True)


def bad_token(scene: Scene) -> None:
    scene.setting(HF_TOKEN="hf_wrong")


def pulled(scene: Scene) -> None:
    assert run(["-q", "pull", REPO]) == 0


def listed(*names: str) -> Callable[[Scene], None]:
    """A server that lists such paths."""

    def prepare(scene: Scene) -> None:
        scene.hub.add("org/hostile", dict.fromkeys(names, b"hostile"))
        scene.hub.raw_siblings = [{"rfilename": name, "size": 7, "blobId": "0" * 40} for name in names]

    return prepare


def on_write(what: Callable[[], object]) -> Callable[[Scene], None]:
    """While a pack is written, this happens."""

    def hook(operation: str, path: str) -> None:
        if operation == "write" and ".pack" in path:
            what()

    def prepare(scene: Scene) -> None:
        scene.environment.setattr(files, "_hook", hook)
        (scene.directory() / "model.safetensors").write_bytes(WEIGHTS)

    return prepare


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted() -> None:
    raise KeyboardInterrupt


def changed() -> None:
    with Path("strange/model.safetensors").open("ab") as file:
        file.write(b"more")


def space_short(scene: Scene) -> None:
    scene.environment.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10, used=5, free=5))


def not_writable(scene: Scene) -> None:
    """A mount that is read-only; permissions would not stop the user who runs this in a container."""

    def hook(operation: str, path: str) -> None:
        if operation == "mkdir" and path.endswith("fresh"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    scene.environment.setattr(files, "_hook", hook)


def saved_again(scene: Scene) -> None:
    assert run(["-q", "checkpoint", "mine", "mine"]) == 0


def fifo(scene: Scene) -> None:
    os.mkfifo(scene.directory() / "pipe")


def unix_socket(scene: Scene) -> None:
    scene.directory()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("strange/socket")


def link_out(scene: Scene) -> None:
    (scene.directory() / "out").symlink_to("../mine/config.json")


def absolute_link(scene: Scene) -> None:
    (scene.directory() / "out").symlink_to(scene.here / "mine")


def newer(scene: Scene) -> None:
    store = scene.here / "newer"
    assert run(["-q", "--store", str(store), "checkpoint", "a", "mine"]) == 0
    (store / "FORMAT").write_text("casmodels store\nformat 9\n")


def foreign_cache(scene: Scene) -> None:
    (scene.here / "theirs/hub/models--a--b/refs").mkdir(parents=True)


def edited(scene: Scene) -> None:
    assert run(["-q", "checkout", "mine", "taken"]) == 0
    (scene.here / "taken/config.json").write_text("edited")


def configured(text: str) -> Callable[[Scene], None]:
    return lambda scene: scene.configure(text)


def variable(**variables: str) -> Callable[[Scene], None]:
    return lambda scene: scene.setting(**variables)


def url_file(scene: Scene) -> None:
    scene.hub.files["/model.bin"] = WEIGHTS
    scene.setting(URL=f"{scene.hub.url}/model.bin")


def no_gzip(scene: Scene) -> None:
    url_file(scene)
    scene.hub.files["/model.bin.gz"] = WEIGHTS


def download_list(**changed: object) -> Callable[[Scene], None]:
    """A list of one model that is right, and one that differs from it so."""

    def prepare(scene: Scene) -> None:
        url_file(scene)
        entry = {"name": "right", "type": "audio/stt", "source": "url", "url": os.environ["URL"]}
        models = [json.dumps(entry), json.dumps({**entry, "name": "wrong", **changed})]
        (scene.here / "list.json").write_text('{"models": [\n' + ",\n".join(models) + "\n]}")

    return prepare


def no_json(scene: Scene) -> None:
    (scene.here / "list.json").write_text('{"models": [\n{"name": whisper}]}')


def right_list(scene: Scene) -> None:
    """A disk that is full while its second model is stored."""
    download_list()(scene)
    on_write(disk_full)(scene)


def wrong_configs(scene: Scene) -> None:
    (scene.directory("shelf") / "configs").mkdir()
    (scene.here / "shelf/configs/model_configs.json").write_text('{"models": {"x": 7}}')


@dataclass(frozen=True)
class Row:
    """What is typed, how it ends, and words that the sentence has."""

    name: str
    command: str
    code: int
    words: tuple[str, ...]
    prepare: Callable[[Scene], None] = nothing


CLASHING = """
[models.one]
type = "instruct"
huggingface_id = "o/one"
aliases = ["both"]
[models.two]
type = "instruct"
huggingface_id = "o/two"
aliases = ["both"]
"""
ROWS = [
    # what the Hub says
    Row("unknown model", "pull mien", 3, ("no model is called 'mien'", "mine")),
    Row("unknown alias", "pull ada-02", 3, ("'ada-02'", "ada-002")),
    Row("known, not here", "checkout ada-002", 3, ("known but not here", "casmodels pull ada-002")),
    Row("repo missing", "pull org/none", 3, ("org/none", "does not exist")),
    Row("revision missing", f"pull {REPO} --revision v9", 3, ("v9", "no such revision")),
    Row("gated", "pull org/gated", 6, ("org/gated",), gated),
    Row("bad token", f"pull {REPO}", 6, ("token",), bad_token),
    Row("file vanished", f"pull {REPO}", 3, ("model.safetensors",), fault(FILE, Fault(status=404))),
    # what comes over the wire
    Row("page for a file", f"pull {REPO}", 6, ("model.safetensors", "page"), fault(FILE, Fault(html=True))),
    Row("page for the info", f"pull {REPO}", 6, (REPO,), fault(f"/api/models/{REPO}/revision/main", Fault(html=True))),
    Row("wrong byte", f"pull {REPO}", 4, ("model.safetensors",), fault(FILE, Fault(flip=1000))),
    Row("cut short", f"pull {REPO}", 6, ("model.safetensors",), fault(FILE, Fault(cut=0))),
    Row("too long", f"pull {REPO}", 4, ("model.safetensors",), fault(FILE, Fault(longer=b"more"))),
    Row("no network", f"pull {REPO}", 6, ("no connection",), variable(HF_ENDPOINT="http://127.0.0.1:9")),
    Row("offline", f"pull {REPO} --offline", 6, ("--offline",)),
    Row("offline by variable", f"pull {REPO}", 6, (REPO,), variable(HF_HUB_OFFLINE="1")),
    Row("checksum", f"pull $URL --checksum sha256:{'0' * 64}", 4, ("model.bin",), url_file),
    Row("malformed checksum", "pull $URL --checksum zz", 2, ("zz",), url_file),
    Row("no gzip", "pull $URL.gz", 4, ("model.bin.gz is no gzip file",), no_gzip),
    Row("URL missing", "pull $URL.no", 3, ("model.bin.no",), url_file),
    # download lists
    Row("list that is none", "pull --list nowhere.json", 3, ("nowhere.json", "does not exist")),
    Row("list that is a directory", "pull --list mine", 2, ("mine", "cannot be read")),
    Row("list that is no JSON", "pull --list list.json", 2, ("list.json, line 2, column 10", "mend it"), no_json),
    Row("list without a field", "pull --list list.json", 2, ("line 3, models[1] (wrong)",), download_list(url=[])),
    Row("list with one more", "pull --list list.json", 2, ("unknown field 'size'", "line 3"), download_list(size=1)),
    Row(
        "list with a name twice",
        "pull --list list.json",
        2,
        ("first in list.json, line 2",),
        download_list(name="right"),
    ),
    Row("list with no type", "pull --list list.json", 2, ("type:", "audio/stt"), download_list(type="audio/x")),
    Row("list of a checksum", "pull --list list.json", 2, ("checksum: 'zz'",), download_list(checksum="zz")),
    Row("list of what leaves", "pull --list list.json", 2, ("name: '../x'",), download_list(name="../x")),
    Row(
        "list of wrong bytes",
        "pull --list list.json",
        1,
        ("model.bin", "sha256:000"),
        download_list(checksum=f"sha256:{'0' * 64}"),
    ),
    Row("list of a taken name", "pull --list list.json", 1, ("'mine'", "rename the entry"), download_list(name="mine")),
    Row("list and a model", "pull mine --list list.json", 2, ("takes no others",)),
    Row("list and a name", "pull --list list.json --name x", 2, ("takes no others",)),
    Row("disk full in a list", "pull --list list.json", 5, ("no space left", "free some space"), right_list),
    # what a server lists
    Row("path up", "pull org/hostile", 6, ("../x",), listed("../x")),
    Row("absolute path", "pull org/hostile", 6, ("/etc/x",), listed("/etc/x")),
    Row("a file and a directory", "pull org/hostile", 6, ("a",), listed("a", "a/b")),
    # the disk
    Row("space short for a pull", f"pull {REPO}", 5, (REPO, "free"), space_short),
    Row("space short for a checkout", "checkout mine out", 5, ("out", "free"), space_short),
    Row("space short for a view", "view mine", 5, ("store-view", "free"), space_short),
    Row("disk full", "checkpoint a strange", 5, ("no space left", "free some space"), on_write(disk_full)),
    Row("disk full in a pull", f"pull {REPO}", 5, ("no space left", "free some space"), on_write(disk_full)),
    Row("not writable", "--store fresh checkpoint a mine", 5, ("fresh is not writable",), not_writable),
    Row("Ctrl-C", "checkpoint a strange", 130, ("the next run resumes",), on_write(interrupted)),
    Row("Ctrl-C in a pull", f"pull {REPO}", 130, ("the next run resumes",), on_write(interrupted)),
    Row("changes while read", "checkpoint a strange", 1, ("strange/model.safetensors changed",), on_write(changed)),
    Row("not a store", "--store mine list", 5, ("mine", "not a casmodels store", "--store")),
    Row("not a store, to write", "--store mine checkpoint a theirs", 5, ("not a casmodels store",), foreign_cache),
    Row("newer format", "--store newer list", 5, ("newer", "format 9", "upgrade"), newer),
    Row("newer format, to write", "--store newer checkpoint a mine", 5, ("format 9",), newer),
    Row(
        "parent is a file",
        "--store mine/config.json/s checkpoint a theirs",
        5,
        ("config.json", "not a directory"),
        foreign_cache,
    ),
    Row("store inside what is saved", "--store mine/s checkpoint a mine", 2, ("the store", "lies in")),
    Row("store inside what is pulled", "--store mine/s pull ./mine", 2, ("the store", "lies in")),
    Row("no type", "checkpoint a strange --type poetry", 2, ("'poetry' is not a type", "audio/stt"), Scene.directory),
    Row("the store itself is saved", "checkpoint a store", 2, ("the store",)),
    Row("checkout into the store", "checkout mine store", 2, ("is the store itself",)),
    Row("checkout below the store", "checkout mine store/x", 2, ("inside the store",)),
    Row("checkout above the store", "checkout mine .", 2, ("contains the store",)),
    Row("view into the store", "view mine --path store", 2, ("inside the store",)),
    Row("somebody's Hub cache", "view mine --path theirs", 2, ("did not make",), foreign_cache),
    # views by category
    Row("categories nowhere", "view --layout categories", 2, ("takes one directory",)),
    Row("categories of a model", "view --layout categories out mine", 2, ("takes one directory",)),
    Row("no such layout", "view --layout tree out", 2, ("--layout",)),
    Row("categories into the store", "view --layout categories store", 2, ("is the store itself",)),
    Row("categories above the store", "view --layout categories .", 2, ("contains the store",)),
    Row("categories at a file", "view --layout categories mine/config.json", 2, ("is a file",)),
    Row("space short for categories", "view --layout categories out", 5, ("out", "free"), space_short),
    Row("wrong configurations", "view --layout categories shelf", 2, ("line 1, models.x", "an object"), wrong_configs),
    Row("categories to remove", "view --remove --layout categories mine", 3, ("mine is no view by category",)),
    # what is saved
    Row("fifo", "checkpoint a strange", 2, ("pipe", "fifo"), fifo),
    Row("socket", "checkpoint a strange", 2, ("strange/socket", "a socket"), unix_socket),
    Row("link out", "checkpoint a strange", 2, ("'out'", "leaves the directory"), link_out),
    Row("absolute link", "checkpoint a strange", 2, ("'out'", "leaves the directory"), absolute_link),
    Row("pull of a fifo", "pull ./strange", 2, ("fifo",), fifo),
    Row("missing directory", "checkpoint a nowhere", 3, ("nowhere", "does not exist")),
    Row("no place known", "checkpoint new", 2, ("no directory is known",)),
    # names
    Row("name of an alias", "checkpoint ada-002 mine", 2, ("'ada-002'", "taken", "embedding-ada-002")),
    Row("name of a spec", "checkpoint embedding-ada-002 mine", 2, ("taken",)),
    Row("name of a Hub id", f"checkpoint {REPO} mine", 2, (REPO, "taken", "pulled from"), pulled),
    Row("name of one's own, pulled", f"pull {REPO} --name mine", 2, ("'mine'", "taken")),
    Row("name that goes up", "checkpoint ../x mine", 2, ("'../x'",)),
    Row("empty name", "checkpoint '' mine", 2, ("''",)),
    Row("tag twice", "tag mine@~0 best", 2, ("'best'", "does not move"), saved_again),
    Row("tag that is no word", "tag mine ../x", 2, ("../x",)),
    # versions and paths
    Row("unknown version", "checkout mine@nope x", 3, ("mine", "'nope'", "casmodels versions mine")),
    Row("too far back", "checkout mine@~7 x", 3, ("~7",)),
    Row("unknown path", "cat mine nope", 3, ("'nope'", "casmodels ls mine")),
    Row("diff with an unknown version", "diff mine mine@nope", 3, ("'nope'", "casmodels versions mine")),
    Row("diff with an unknown name", "diff mine mien", 3, ("'mien'", "mine")),
    Row("diff with nothing", "diff mine", 2, ("B",)),
    Row("another tool's word for diff", "compare mine mine", 2, ("casmodels diff",)),
    Row("restore of a pulled model", f"restore {REPO}", 2, ("casmodels checkout", "casmodels view"), pulled),
    Row("own edits", "checkout mine taken", 1, ("config.json", "--force"), edited),
    # configuration
    Row("no TOML", "list", 2, ("config.toml", "line 1"), configured("store = ")),
    Row("unknown setting", "list", 2, ("config.toml, line 1", "stoer"), configured('stoer = "x"')),
    Row("wrong type", "list", 2, ("workers", "whole number"), configured('workers = "two"')),
    Row("aliases clash", "list", 2, ("'both'", "'one'", "'two'"), configured(CLASHING)),
    Row("malformed endpoint", f"pull {REPO}", 2, ("HF_ENDPOINT",), variable(HF_ENDPOINT="nonsense")),
    # usage
    Row("another tool's word", "download mine", 2, ("casmodels pull",)),
    Row("no such option", "list --frob", 2, ("--frob",)),
    Row("no such type", "list --type nope", 2, ("'nope'", "text-embedding")),
    Row("no workers", "pull ada-002 --workers 0", 2, ("--workers",)),
    Row("since without data", "verify --since 7d", 2, ("--data",)),
]


def typed(command: str) -> list[str]:
    return [os.path.expandvars(word) if word != "''" else "" for word in command.split(" ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_sentence_the_right_code_and_a_store_that_is_whole(
    scene: Scene, row: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    row.prepare(scene)
    before = everything_outside_the_stores(scene)
    capfd.readouterr()

    assert run(typed(row.command)) == row.code

    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert told.count("error: ") == (row.code != 130), told
    assert len(told.splitlines()) == 1, told
    for word in row.words:
        assert word in told, told
    assert everything_outside_the_stores(scene) == before
    scene.undo()
    assert run(["--json", "verify", "--data"]) == 0
    assert json.loads(capfd.readouterr().out)["damaged"] == []
    assert run(["-q", "checkout", "mine@best", "afterwards"]) == 0
    assert (scene.here / "afterwards/model.safetensors").read_bytes() == WEIGHTS[::-1]


def everything_outside_the_stores(scene: Scene) -> set[Path]:
    """All paths but the insides of stores and what configures a test."""
    stores = [scene.store, scene.here / "newer"]
    return {path for path in scene.here.rglob("*") if not any(path.is_relative_to(store) for store in stores)}


def test_what_came_wrong_once_is_fetched_anew(scene: Scene) -> None:
    no_gzip(scene)
    url = os.environ["URL"] + ".gz"
    assert run(["-q", "pull", url]) == 4
    assert list((scene.store / "downloads").iterdir()) == []
    scene.hub.files["/model.bin.gz"] = gzip.compress(WEIGHTS)
    assert run(["-q", "pull", url]) == 0
    assert run(["-q", "checkout", "model", "out"]) == 0
    assert (scene.here / "out/model.bin").read_bytes() == WEIGHTS
