"""Model specs, and the forms of MODEL and NAME[@VERSION]."""

from __future__ import annotations

import contextlib
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casmodels.addresses import HubModel, LocalModel, ShortName, UrlModel, parse_model
from casmodels.specs import (
    ModelSpec,
    ModelType,
    VersionedName,
    commit_of,
    parse_model_type,
    parse_versioned,
    type_of_pipeline,
)
from casstore.digests import sha256_digest
from casstore.errors import InvalidInputError
from casstore.versions import Version

_SPEC = ModelSpec("whisper-tiny", "Whisper tiny", ModelType.AUDIO_STT, "openai/whisper-tiny")


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("ada-002", ShortName("ada-002")),
        ("gpt-3.5-turbo-instruct", ShortName("gpt-3.5-turbo-instruct")),
        ("gpt2", ShortName("gpt2")),
        ("gpt2@v1.0", ShortName("gpt2", "v1.0")),
        ("org/name", HubModel("org/name")),
        ("org/name@refs/pr/1", HubModel("org/name", "refs/pr/1")),
        ("org/name@a@b", HubModel("org/name", "a@b")),
        ("hf://org/name", HubModel("org/name", explicit=True)),
        ("HF://org/name@main", HubModel("org/name", "main", explicit=True)),
        ("hf://models/org/name", HubModel("org/name", explicit=True)),
        ("hf://gpt2", HubModel("gpt2", explicit=True)),
        ("https://host:8443/yolov8n.pt?x=1", UrlModel("https://host:8443/yolov8n.pt?x=1")),
        ("http://127.0.0.1/m", UrlModel("http://127.0.0.1/m")),
        ("https://user:word@host/m", UrlModel("https://user:word@host/m")),
        ("./name", LocalModel(Path("name"))),
        ("../org/name", LocalModel(Path("../org/name"))),
        (".", LocalModel(Path())),
        ("..", LocalModel(Path(".."))),
        ("/a/b@c", LocalModel(Path("/a/b@c"))),
        ("~/m", LocalModel(Path("~/m").expanduser())),
        ("file:///a%20b/%C3%A9", LocalModel(Path("/a b/é"))),
        ("file://localhost/a", LocalModel(Path("/a"))),
    ],
)
def test_the_form_of_a_model_tells_what_it_is(text: str, model: object) -> None:
    assert parse_model(text) == model


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "org/name@",
        "name@",
        "name@a b",
        "a/b/c",
        "na me",
        "-name",
        "org/../name",
        "org//name",
        "name\n",
        "hf://",
        "hf://datasets/org/name",
        "hf://spaces/org/name",
        "ftp://host/m",
        "s3://bucket/m",
        "https://",
        "https:///m",
        "https://host:port/m",
        "https://host:99999/m",
        "https://[::1/m",
        "https://host/a b",
        "https://host/a\nb",
        "file://elsewhere/a",
        "file://",
        "~no-such-user-here/m",
        "~\0/m",
        "a/" + "b" * 5000,
        "naïve",
    ],
)
def test_what_has_no_form_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_model(text)
    assert "\n" not in caught.value.message


def test_a_directory_never_hides_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/name/deep").mkdir(parents=True)
    (tmp_path / "gpt2").mkdir()
    assert parse_model("org/name") == HubModel("org/name")
    assert parse_model("gpt2") == ShortName("gpt2")
    assert parse_model("org/name/deep") == LocalModel(Path("org/name/deep"))
    assert parse_model("gpt2/") == LocalModel(Path("gpt2"))
    with pytest.raises(InvalidInputError):
        parse_model("org/name/absent")


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    shown = UrlModel("https://user:word@host:8443/path/m.pt?token=abc#part").shown
    assert shown == "https://host:8443/path/m.pt"


@given(st.text(max_size=30))
def test_any_text_is_a_model_or_refused(text: str) -> None:
    for parse in (parse_model, parse_versioned):
        with contextlib.suppress(InvalidInputError):
            assert parse(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("whisper-v1", VersionedName("whisper-v1")),
        ("org/name@v1", VersionedName("org/name", "v1")),
        ("hf://org/name@main", VersionedName("org/name", "main")),
        ("name@refs/pr/1", VersionedName("name", "refs/pr/1")),
        ("name@3f2a", VersionedName("name", "3f2a")),
        ("name@~0", VersionedName("name")),
        ("name@~12", VersionedName("name", back=12)),
    ],
)
def test_a_version_is_a_label_or_a_count_back(text: str, wanted: VersionedName) -> None:
    assert parse_versioned(text) == wanted
    assert parse_versioned(str(wanted)) == wanted


@pytest.mark.parametrize("text", ["", "@v1", "name@", "name@~", "name@~-1", "name@~x", "name@a b", "./name", "a/b/c"])
def test_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_versioned(text)


def test_a_commit_is_upstreams_or_made_from_the_versions_id() -> None:
    version = Version(sha256_digest(b""), None, "hf://org/name", 1)
    assert commit_of(version) == version.id.hex[:40]
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert commit_of(replace(version, metadata={"revision": commit})) == commit
    for other in (commit[:39], commit + "0", commit.upper(), "main", commit + "\n", 7):
        changed = replace(version, metadata={"revision": other})
        assert commit_of(changed) == changed.id.hex[:40]


def test_a_spec_takes_its_type_as_text_and_its_aliases_as_a_list() -> None:
    spec = replace(_SPEC, model_type="instruct", aliases=["a", "b", "a", "whisper-tiny"])  # type: ignore[arg-type]
    assert spec.model_type is ModelType.INSTRUCT
    assert spec.aliases == ("a", "b")
    assert hash(spec) == hash(replace(spec))
    with pytest.raises(FrozenInstanceError):
        spec.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "org/name"),
        ("id", "a@b"),
        ("id", "~1"),
        ("id", "."),
        ("aliases", ("org/name",)),
        ("aliases", ("a b",)),
        ("model_type", "poetry"),
        ("huggingface_id", "a/b/c"),
        ("huggingface_id", ""),
        ("context_length", 0),
        ("files", ("../x",)),
        ("parameters", "many"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError):
        replace(_SPEC, **{field: value})  # type: ignore[arg-type]


def test_the_fields_of_a_table_make_a_spec_and_back() -> None:
    table: dict[str, object] = {
        "type": "audio/stt",
        "huggingface_id": "openai/whisper-tiny",
        "name": "Whisper tiny",
        "description": "Speech to text.",
        "context_length": 448,
        "parameters": "39M",
        "aliases": ["whisper"],
        "licence": "apache-2.0",
        "files": ["model.safetensors"],
    }
    spec = ModelSpec.from_fields("whisper-tiny", table)
    assert spec.model_type is ModelType.AUDIO_STT
    assert spec.to_fields() == {"id": "whisper-tiny", **table}
    least = ModelSpec.from_fields("w", {"type": "instruct", "huggingface_id": "gpt2"})
    assert least.name == "w"


def test_the_values_of_types_stay_and_have_other_words() -> None:
    assert [model_type.value for model_type in ModelType] == [
        *("text-embedding", "chat-completion", "instruct", "text-classification", "text-generation"),
        *("audio/stt", "audio/tts", "audio/vad"),
        *("vision/detection", "vision/embedding", "vision/generation", "vision/recognition"),
        *("trading/predictor", "trading/rl", "trading/anomaly"),
    ]
    assert parse_model_type("nlp/classifier") is ModelType.TEXT_CLASSIFICATION
    assert parse_model_type("trading/rl") is ModelType.TRADING_RL


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("automatic-speech-recognition", ModelType.AUDIO_STT),
        ("summarization", ModelType.TEXT_GENERATION),
        ("audio/stt", None),
        ("robotics", None),
        (None, None),
        (["x"], None),
    ],
)
def test_the_tag_of_a_card_tells_the_type(tag: object, expected: ModelType | None) -> None:
    assert type_of_pipeline(tag) is expected


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"type": None}, "'type' is missing"),
        ({"huggingface_id": None}, "'huggingface_id' is missing"),
        ({"type": 3}, "'type'"),
        ({"context_length": True}, "'context_length'"),
        ({"context_length": 5.0}, "'context_length'"),
        ({"aliases": "a"}, "'aliases'"),
        ({"aliases": ["a", 3]}, "'aliases'"),
        ({"files": "a"}, "'files'"),
        ({"files": [3]}, "'files'"),
        ({"model_type": "instruct"}, "'model_type'"),
    ],
)
def test_a_wrong_field_is_named(changed: dict[str, object], named: str) -> None:
    table = {"type": "instruct", "huggingface_id": "gpt2", **changed}
    with pytest.raises(InvalidInputError, match=named):
        ModelSpec.from_fields("w", {field: value for field, value in table.items() if value is not None})
