from __future__ import annotations

import contextlib
import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casmodels.configs.download_list import DownloadEntry, read_download_list, write_download_list
from casmodels.errors import ConfigurationError
from casmodels.specs import ModelType
from casstore.digests import sha256_digest
from casstore.errors import FullError, NotFoundError
from casstore.testing.faults import Failing, hooked

CHECKSUM = f"sha256:{'5' * 64}"
WHISPER: dict[str, Any] = {
    "name": "whisper-tiny",
    "type": "audio/stt",
    "source": "huggingface",
    "repo": "openai/whisper-tiny",
    "files": ["model.safetensors", "config.json"],
    "size_mb": 151,
    "checksum": CHECKSUM,
}
YOLO: dict[str, Any] = {
    "name": "yolov8n",
    "type": "vision/detection",
    "source": "ultralytics",
    "url": "https://host/yolov8n.pt",
    "size_mb": 6.2,
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("download_list.json")


def written(path: Path, *models: object) -> Path:
    """One entry a line, from line 2 on."""
    path.write_text('{"models": [\n' + ",\n".join(map(json.dumps, models)) + "\n]}")
    return path


def test_the_list_of_the_program_before_is_read(path: Path) -> None:
    whisper, yolo = read_download_list(written(path, WHISPER, YOLO))
    assert (whisper.name, whisper.type, whisper.repo) == ("whisper-tiny", ModelType.AUDIO_STT, "openai/whisper-tiny")
    assert (whisper.files, str(whisper.checksum)) == (("model.safetensors", "config.json"), CHECKSUM)
    assert (yolo.source, yolo.url, yolo.size_mb) == ("ultralytics", "https://host/yolov8n.pt", 6.2)
    assert yolo.where == "download_list.json, line 3, models[1] (yolov8n)"


def test_what_is_written_is_read_again(path: Path) -> None:
    entries = read_download_list(written(path, WHISPER, YOLO, {**WHISPER, "name": "other", "revision": "v1"}))
    new = path.parent / "configs" / "new.json"
    write_download_list(new, entries)
    assert read_download_list(new) == entries
    assert [file.name for file in new.parent.iterdir()] == ["new.json"]
    write_download_list(new, [replace(entries[1], checksum=sha256_digest(b""), size_mb=None)])
    assert json.loads(new.read_text()) == {
        "models": [
            {key: value for key, value in YOLO.items() if key != "size_mb"} | {"checksum": str(sha256_digest(b""))}
        ]
    }


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
def test_on_a_full_disk_the_list_of_before_stays(path: Path, operation: str) -> None:
    entries = read_download_list(written(path, WHISPER))
    before = path.read_bytes()
    with hooked(Failing(errno.ENOSPC, operation, "download_list")), pytest.raises(FullError, match="no space left"):
        write_download_list(path, (*entries, DownloadEntry("x", ModelType.AUDIO_TTS, "url", url="https://host/x")))
    assert path.read_bytes() == before
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": None}, "models[1]: the field 'name' is missing"),
        ({"type": None}, "'type' is missing"),
        ({"source": None}, "'source' is missing"),
        ({"repo": None}, "'repo' is missing"),
        ({"name": 7}, "models[1]: name: must be a string, not 7"),
        ({"name": "../x"}, "'../x' cannot be a name"),
        ({"name": "org/x"}, "'org/x' has a slash"),
        ({"name": "n" * 5000}, "is longer than 4096 characters"),
        ({"name": "WHISPER-tiny"}, "(WHISPER-tiny): the name stands there twice, first in download_list.json, line 2"),
        ({"type": "audio/poetry"}, "type: 'audio/poetry' is not a type of model"),
        ({"source": "A b"}, "source: 'A b' is no word for a source"),
        ({"source": "url"}, "the field 'url' is missing"),
        ({"repo": "a/b/c"}, "repo: 'a/b/c' cannot be a name"),
        ({"url": "https://host/x"}, "'url' does not go with 'repo'"),
        ({"revision": "a b"}, "revision: 'a b' is no branch"),
        ({"files": "config.json"}, "files: must be a list of paths, not 'config.json'"),
        ({"files": []}, "files: must be a list of paths"),
        ({"files": [3]}, "files: must be a string, not 3"),
        ({"files": ["../secret"]}, "files: the path '../secret' is not a plain relative path"),
        ({"files": ["/etc/passwd"]}, "'/etc/passwd'"),
        ({"files": ["a\0b"]}, "not a plain relative path"),
        ({"files": ["\ud800"]}, "half of a surrogate pair"),
        ({"files": ["a", "a"]}, "'a' stands there twice"),
        ({"files": None}, "a checksum is of one file, and 'files' does not name it"),
        ({"size_mb": "151"}, "size_mb: must be a number"),
        ({"size_mb": True}, "size_mb: must be a number"),
        ({"size_mb": -1}, "size_mb: must be from 0"),
        ({"size_mb": 1e300}, "size_mb: must be from 0"),
        ({"checksum": "sha256:12"}, "checksum: 'sha256:12' is not a digest"),
        ({"checksum": "blake3:" + "0" * 64}, "must be a SHA-256, not blake3"),
        ({"checksums": CHECKSUM}, "unknown field 'checksums' in line 3"),
    ],
)
def test_a_wrong_entry_is_named_in_one_sentence(path: Path, changed: dict[str, Any], words: str) -> None:
    entry = {key: value for key, value in {**WHISPER, "name": "mine", **changed}.items() if value is not None}
    with pytest.raises(ConfigurationError) as caught:
        read_download_list(written(path, WHISPER, entry))
    message = caught.value.message
    assert message.startswith("download_list.json, line 3, models[1]")
    assert words in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "org/name", "/etc/passwd", "https://", 7])
def test_only_http_addresses_are_fetched(path: Path, url: object) -> None:
    with pytest.raises(ConfigurationError, match=r"models\[0\] \(yolov8n\): url: "):
        read_download_list(written(path, {**YOLO, "url": url}))


@pytest.mark.parametrize("field", ["repo", "revision", "files"])
def test_a_url_has_no_fields_of_a_repository(path: Path, field: str) -> None:
    value = {"repo": "org/name", "revision": "v1", "files": ["x"]}[field]
    with pytest.raises(ConfigurationError, match=f"'{field}' does not go with 'url'"):
        read_download_list(written(path, {**YOLO, field: value}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"models": [\n{"name": }]}', "line 2, column 10"),
        (b'{"models": []}\nmore', "line 2"),
        (b"[]", "not a download list"),
        (b'"models"', "not a download list"),
        (b'{"models": {}}', "not a download list"),
        (b'{"models": [],\n "version": 2}', "unknown field 'version' in line 2"),
        (b'{"models": [],\n\n"models": []}', "line 3: 'models' stands there twice, first in line 1"),
        (b'{"models": [7]}', "models[0]: must be an object, not 7"),
        (b'{"models": [\n{"name": "a",\n"name": "b"}]}', "line 3: 'name' stands there twice, first in line 2"),
        (b'{"models": [{"size_mb": NaN}]}', "NaN is no number"),
        (b'{"models": [{"size_mb": ' + b"9" * 5000 + b"}]}", "a number that cannot be read"),
        (b'{"models":\n"\xff"}', "line 2: not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"models":\n' + b"[" * 30 + b"]" * 30 + b"}", "line 2: nested too deeply"),
        (b" " * (1 << 20) + b"{}", "is larger than 1 MiB"),
    ],
)
def test_what_is_no_list_is_refused_in_one_sentence(path: Path, text: bytes, words: str) -> None:
    path.write_bytes(text)
    with pytest.raises(ConfigurationError) as caught:
        read_download_list(path)
    assert str(caught.value).startswith("download_list.json")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_no_file_is_refused(path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        read_download_list(path)
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_download_list(path)


def test_a_file_of_another_editor_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"models": [WHISPER]}, indent=4).replace("\n", "\r\n").encode())
    (entry,) = read_download_list(path)
    assert entry.where == "download_list.json, line 3, models[0] (whisper-tiny)"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*WHISPER, "url", "revision", "else"]), _VALUES))
def test_any_entry_is_read_and_written_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"models": [{**WHISPER, **changed}]}))
    with contextlib.suppress(ConfigurationError):
        entries = read_download_list(path)
        write_download_list(path, entries)
        assert read_download_list(path) == entries
