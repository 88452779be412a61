"""Model specs, and what users may type where a version is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from casstore.errors import InvalidInputError
from casstore.refs import check_name
from casstore.trees import check_path
from casstore.versions import Version

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}\Z")
_PARAMETERS = re.compile(r"[0-9]+(\.[0-9]+)?[KMBT]?\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_BACK = re.compile(r"~([0-9]{1,9})\Z")


class ModelType(StrEnum):
    """What a model does. Text first; audio, vision and trading are families with a slash, as `audio/stt`."""

    TEXT_EMBEDDING = "text-embedding"
    CHAT_COMPLETION = "chat-completion"
    INSTRUCT = "instruct"
    TEXT_CLASSIFICATION = "text-classification"
    TEXT_GENERATION = "text-generation"
    AUDIO_STT = "audio/stt"
    AUDIO_TTS = "audio/tts"
    AUDIO_VAD = "audio/vad"
    VISION_DETECTION = "vision/detection"
    VISION_EMBEDDING = "vision/embedding"
    VISION_GENERATION = "vision/generation"
    VISION_RECOGNITION = "vision/recognition"
    TRADING_PREDICTOR = "trading/predictor"
    TRADING_RL = "trading/rl"
    TRADING_ANOMALY = "trading/anomaly"


_OTHER_WORDS = {
    "nlp/embedding": ModelType.TEXT_EMBEDDING,
    "nlp/classifier": ModelType.TEXT_CLASSIFICATION,
    "nlp/generator": ModelType.TEXT_GENERATION,
}
"""Words of the same form for the types of text."""

_PIPELINES = {
    ModelType.AUDIO_STT: ("automatic-speech-recognition",),
    ModelType.AUDIO_TTS: ("text-to-speech", "text-to-audio"),
    ModelType.AUDIO_VAD: ("voice-activity-detection",),
    ModelType.VISION_DETECTION: ("object-detection", "zero-shot-object-detection"),
    ModelType.VISION_EMBEDDING: ("image-feature-extraction", "zero-shot-image-classification"),
    ModelType.VISION_GENERATION: ("text-to-image", "image-to-image", "unconditional-image-generation"),
    ModelType.TEXT_EMBEDDING: ("sentence-similarity", "feature-extraction"),
    ModelType.TEXT_CLASSIFICATION: ("text-classification", "zero-shot-classification"),
    ModelType.TEXT_GENERATION: ("text-generation", "text2text-generation", "summarization", "translation"),
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a model before it is here.

    ``id`` and ``aliases`` are the short names; ``huggingface_id`` is the repository on the Hub, and ``files`` the
    only paths of it that a pull takes (none: what a pull chooses);
    ``context_length`` is in tokens; ``parameters`` is a count such as ``23M``; ``licence`` is an SPDX id or
    the Hub's word for it. ``model_type`` may be given as its text and is called ``type`` in TOML and JSON.
    Raises InvalidInputError for a field that cannot be.
    """

    id: str
    name: str
    model_type: ModelType
    huggingface_id: str
    description: str = ""
    context_length: int | None = None
    parameters: str | None = None
    aliases: tuple[str, ...] = ()
    licence: str | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        aliases = dict.fromkeys(alias for alias in self.aliases if alias != self.id)
        object.__setattr__(self, "model_type", parse_model_type(self.model_type))
        object.__setattr__(self, "aliases", tuple(aliases))
        object.__setattr__(self, "files", tuple(self.files))
        for path in self.files:
            check_path(path)
        for word in (self.id, *self.aliases):
            if not _WORD.match(word):
                raise InvalidInputError(
                    f"{word!r} cannot be a model's id or alias",
                    remedy="use letters, digits, '.', '_' and '-', and no '/': that is for Hub ids",
                )
        check_name(self.huggingface_id)
        if self.context_length is not None and self.context_length < 1:
            raise InvalidInputError(f"a context length is at least 1 token, not {self.context_length}")
        if self.parameters is not None and not _PARAMETERS.match(self.parameters):
            raise InvalidInputError(f"{self.parameters!r} is not a count of parameters such as 23M or 1.5B")

    @classmethod
    def from_fields(cls, id: str, fields: Mapping[str, object]) -> ModelSpec:  # noqa: A002 the field's name
        """Read the fields of a ``[models.<id>]`` table; ``type`` and ``huggingface_id`` are needed.

        Raises InvalidInputError that names the field.
        """
        unknown = sorted(set(fields) - _FIELDS.keys())
        if unknown:
            raise InvalidInputError(f"unknown field {unknown[0]!r}", remedy=f"known are {', '.join(_FIELDS)}")
        for field, (kind, needed) in _FIELDS.items():
            if field not in fields:
                if needed:
                    raise InvalidInputError(f"the field {field!r} is missing")
            elif type(fields[field]) is not kind:
                raise InvalidInputError(f"the field {field!r} must be {_KINDS[kind]}, not {fields[field]!r}")
        given = {field: value for field, value in fields.items() if field != "type"}
        for field, value in given.items():
            if isinstance(value, list):
                if not all(isinstance(word, str) for word in value):
                    raise InvalidInputError(f"the field {field!r} must be a list of strings, not {value!r}")
                given[field] = tuple(value)
        given.setdefault("name", id)
        return cls(id=id, model_type=fields["type"], **given)  # type: ignore[arg-type]

    def to_fields(self) -> dict[str, object]:
        """The fields as JSON and TOML name them, ``id`` among them."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.model_type.value,
            "huggingface_id": self.huggingface_id,
            "description": self.description,
            "context_length": self.context_length,
            "parameters": self.parameters,
            "aliases": list(self.aliases),
            "licence": self.licence,
            "files": list(self.files),
        }


_FIELDS: dict[str, tuple[type, bool]] = {
    "type": (str, True),
    "huggingface_id": (str, True),
    "name": (str, False),
    "description": (str, False),
    "context_length": (int, False),
    "parameters": (str, False),
    "aliases": (list, False),
    "licence": (str, False),
    "files": (list, False),
}
_KINDS = {str: "a string", int: "a whole number", list: "a list of strings"}


def type_of_pipeline(tag: object) -> ModelType | None:
    """The type of a model whose card has that pipeline tag, one of the Hub's words for tasks; None for the others."""
    return next((model_type for model_type, tags in _PIPELINES.items() if tag in tags), None)


def parse_model_type(text: str) -> ModelType:
    """The type of that name. Raises InvalidInputError that lists them."""
    try:
        return _OTHER_WORDS.get(text) or ModelType(text)
    except ValueError:
        known = ", ".join(ModelType)
        raise InvalidInputError(f"{text!r} is not a type of model", remedy=f"the types are {known}") from None


@dataclass(frozen=True, slots=True)
class VersionedName:
    """NAME[@VERSION]. With neither ``label`` nor ``back`` the newest is meant.

    ``label`` is a tag, an upstream revision, or the beginning of a version id, to be tried in that order;
    ``back`` counts versions before the newest.
    """

    name: str
    label: str | None = None
    back: int = 0

    def __str__(self) -> str:
        return f"{self.name}@{self.label or f'~{self.back}'}" if self.label or self.back else self.name


def parse_versioned(text: str) -> VersionedName:
    """Read ``NAME``, ``NAME@VERSION`` or ``NAME@~N``; raises InvalidInputError for anything else."""
    name, at, version = text.removeprefix("hf://").partition("@")
    check_name(name)
    if not at:
        return VersionedName(name)
    back = _BACK.match(version)
    if back is not None:
        return VersionedName(name, back=int(back[1]))
    if not version or version.startswith("~") or any(character.isspace() for character in version):
        raise InvalidInputError(
            f"{text!r} has no version after its '@'",
            remedy="a version is a tag, an upstream revision, the beginning of a version id, or ~N",
        )
    return VersionedName(name, label=version)


def is_commit(revision: str) -> bool:
    """Whether it is a whole commit id of the Hub, not a branch or tag."""
    return _COMMIT.match(revision) is not None


def commit_of(version: Version) -> str:
    """A version's commit id in the Hub's world: upstream's, else 40 hex digits of the version's id."""
    revision = version.revision
    return revision if revision is not None and is_commit(revision) else version.id.hex[:40]
