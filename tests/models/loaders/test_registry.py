"""Loaders of other packages: found through entry points, real ones, and left out when they are broken."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from casmodels.errors import BrokenLoaderError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model, registry

Saver = Callable[..., str]
Install = Callable[[dict[str, str]], None]
MODULE = '''
from casmodels.loaders import Loaded

class Upper:
    """Loads text files: calling one gives its text and what it is called with."""
    name = "upper"
    copies = 1
    def recognise(self, model):
        return model.ending(".txt")
    def devices(self):
        return ("cuda:0", "cuda:1", "cpu")
    def load(self, model, request, *, suffix=""):
        text = model.read(request.files[0]).decode() + suffix
        return Loaded(text, lambda batch: [text + item for item in batch], move=lambda device: None)

class Failing(Upper):
    name = "failing"
    def recognise(self, model):
        raise KeyError("shape")

def changed(attribute, value):
    return lambda: type("Changed", (Upper,), {"name": "changed", attribute: value})()

def ends(*_arguments, **_options):
    raise SystemExit(3)

def gives(value):
    return lambda *_arguments, **_options: value

unknown = changed("recognise", gives(["no.txt"]))
text = changed("recognise", gives("note.txt"))
numbers = changed("recognise", gives([5]))
leaves = changed("recognise", ends)
nowhere = changed("devices", gives(()))
none = changed("devices", gives(None))
odd = changed("devices", gives([0]))
raising = changed("devices", lambda _self: 1 / 0)
uncounted = changed("copies", None)
worded = changed("copies", "two")
named = changed("name", "weights")
nameless = changed("name", None)
still = changed("load", 5)
loads_none = changed("load", gives(None))
loads_five = changed("load", gives(5))
load_leaves = changed("load", ends)
made_leaves = ends

class Open:
    """A model that does not close."""
    def close(self):
        raise OSError("still in use")

def unclosed(*_arguments, **_options):
    model = Open()
    return Loaded(model, print, close=model.close)

stays_open = changed("load", unclosed)

class Half:
    name = "half"
    copies = 1
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package whose entry points these are."""

    def put(entries: dict[str, str]) -> None:
        site = tmp_path / "site"
        info = site / "theirs-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "theirs_loaders.py").write_text(MODULE)
        (site / "theirs_broken.py").write_text("raise OSError('libtheirs.so: cannot open\\nmore of it')")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[casmodels.loaders]\n{lines}\n")
        monkeypatch.syspath_prepend(str(site))

    return put


def test_a_loader_of_another_package_loads(store: Store, saved: Saver, install: Install) -> None:
    install({"upper": "theirs_loaders:Upper"})
    version = saved({"note.txt": b"hello "})
    with load_model(store, "mine", suffix="dear ") as model:
        assert (model.loader, model.version, model.device) == ("upper", f"mine@{version}", "cuda:0")
        assert model.model == "hello dear "
        assert model(["you"]) == ["hello dear you"]
        assert model.to("cuda:1").device == "cuda:1"
    assert load_model(store, "mine", loader="upper", device="cpu").device == "cpu"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("theirs_broken:Upper", "OSError: libtheirs.so: cannot open"),
        ("theirs_missing:Upper", "No module named 'theirs_missing'"),
        ("theirs_loaders:Lower", "has no attribute 'Lower'"),
        ("theirs_loaders:Half", "it has no recognise and no devices and no load"),
    ],
)
def test_a_broken_one_is_named_and_the_others_work(
    store: Store, saved: Saver, install: Install, caplog: pytest.LogCaptureFixture, value: str, said: str
) -> None:
    install({"broken": value, "upper": "theirs_loaders:Upper"})
    saved({"note.txt": b"hello "})
    with caplog.at_level(logging.WARNING), load_model(store, "mine") as model:
        assert model.loader == "upper"
    (warning,) = caplog.messages
    assert warning.startswith(f"the loader 'broken' of theirs ({value}) cannot be used: ")
    assert warning.endswith("; it is left out")
    assert said in warning
    with pytest.raises(BrokenLoaderError, match="'broken' of theirs") as raised:
        load_model(store, "mine", loader="broken")
    assert said in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.remedy == "mend or remove theirs"


def test_one_that_fails_when_it_is_asked_is_left_out(
    store: Store, saved: Saver, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install({"failing": "theirs_loaders:Failing", "upper": "theirs_loaders:Upper"})
    saved({"note.txt": b"hello "})
    with caplog.at_level(logging.WARNING), load_model(store, "mine") as model:
        assert model.loader == "upper"
    assert caplog.messages[0].startswith("the loader 'failing' fails to look at mine@")
    with pytest.raises(BrokenLoaderError, match="KeyError: 'shape'"):
        load_model(store, "mine", loader="failing")


def test_a_built_in_name_cannot_be_taken(install: Install) -> None:
    install({"weights": "theirs_loaders:Upper"})
    assert registry.named("weights").__class__.__module__ == "casmodels.loaders.builtin.weights"
    assert sum(loader.name == "upper" for loader in registry.all_loaders()) == 0


def test_an_unknown_loader_names_the_others(store: Store, saved: Saver, install: Install) -> None:
    install({"upper": "theirs_loaders:Upper"})
    saved({"note.txt": b"hello"})
    with pytest.raises(NotLoadableError, match="there is no loader 'lower'") as raised:
        load_model(store, "mine", loader="lower")
    assert "weights" in (raised.value.remedy or "")
    assert "upper" in (raised.value.remedy or "")


FAULTS = [
    ("unknown", "recognises 'no.txt', which is no file of mine@"),
    ("text", "'note.txt' is one text, not several"),
    ("numbers", "recognises 5, which is no file of mine@"),
    ("leaves", "SystemExit: 3"),
    ("nowhere", "has no devices"),
    ("none", "fails to say its devices: TypeError: 'NoneType' object is not iterable"),
    ("odd", "says that 0 is a device"),
    ("raising", "fails to say its devices: ZeroDivisionError"),
    ("uncounted", "its copies are None"),
    ("worded", "its copies are 'two'"),
    ("named", "its name 'weights' is that of a built-in one"),
    ("nameless", "its name is None"),
    ("still", "its load cannot be called"),
    ("made_leaves", "SystemExit: 3"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_one_that_says_nonsense_is_named_and_left_out(
    store: Store, saved: Saver, install: Install, caplog: pytest.LogCaptureFixture, fault: str, said: str
) -> None:
    install({"changed": f"theirs_loaders:{fault}", "upper": "theirs_loaders:Upper"})
    saved({"note.txt": b"hello "})
    with caplog.at_level(logging.WARNING), load_model(store, "mine") as model:
        assert model.loader == "upper"
    (warning,) = caplog.messages
    assert warning.startswith("the loader 'changed' ")
    assert said in warning
    with pytest.raises(BrokenLoaderError, match="the loader 'changed' ") as raised:
        load_model(store, "mine", loader="changed")
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("loads_none", "gives NoneType where a Loaded is due"),
        ("loads_five", "gives int where a Loaded is due"),
        ("load_leaves", "ends the program instead of loading"),
    ],
)
def test_one_that_loads_nothing_is_named(store: Store, saved: Saver, install: Install, fault: str, said: str) -> None:
    install({"changed": f"theirs_loaders:{fault}"})
    saved({"note.txt": b"hello "})
    with pytest.raises(BrokenLoaderError) as raised:
        load_model(store, "mine")
    assert raised.value.message == f"the loader 'changed' {said}"


def test_one_that_fails_to_unload_lets_go_of_the_model_all_the_same(
    store: Store, saved: Saver, install: Install
) -> None:
    install({"changed": "theirs_loaders:stays_open"})
    saved({"note.txt": b"hello "})
    model = load_model(store, "mine")
    held = weakref.ref(model.model)
    with pytest.raises(BrokenLoaderError) as raised:
        model.close()
    assert raised.value.message == "the loader 'changed' fails to unload its model: OSError: still in use"
    model.close()
    assert model.closed
    del raised
    assert held() is None


def test_what_went_wrong_before_is_told_rather_than_that(store: Store, saved: Saver, install: Install) -> None:
    install({"changed": "theirs_loaders:stays_open"})
    saved({"note.txt": b"hello "})
    with pytest.raises(BrokenLoaderError, match="fails to unload"), load_model(store, "mine"):
        pass
    with pytest.raises(ValueError, match="mine"), load_model(store, "mine"):
        raise ValueError("mine")
