"""The registry: the defaults, look-ups, and clashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casmodels import config
from casmodels.errors import ConfigurationError, RegistryError, UnknownModelError
from casmodels.families import FAMILIES
from casmodels.registry import DEFAULTS, Registry
from casmodels.specs import ModelSpec, ModelType

_OWN = ModelSpec("my-model", "Mine", ModelType.INSTRUCT, "me/mine", aliases=("mine",))


def test_the_defaults_are_the_four_of_the_programs_before() -> None:
    told = {
        spec.id: (spec.model_type.value, spec.huggingface_id, spec.parameters, spec.context_length, spec.aliases)
        for spec in Registry(DEFAULTS)
    }
    assert told == {
        "embedding-ada-002": (
            "text-embedding",
            "sentence-transformers/all-MiniLM-L6-v2",
            "23M",
            512,
            ("text-embedding-ada-002", "ada-002"),
        ),
        "embedding-large": (
            "text-embedding",
            "sentence-transformers/all-mpnet-base-v2",
            "109M",
            514,
            ("text-embedding-large", "mpnet-base"),
        ),
        "gpt-3.5-turbo-instruct": (
            "instruct",
            "microsoft/DialoGPT-medium",
            "345M",
            4096,
            ("gpt-3.5-instruct", "turbo-instruct"),
        ),
        "text-classifier-roberta": (
            "text-classification",
            "cardiffnlp/twitter-roberta-base-sentiment-latest",
            "125M",
            512,
            ("classifier-roberta", "sentiment-roberta"),
        ),
    }
    assert all(spec.licence and spec.description for spec in DEFAULTS)


def test_each_family_has_a_spec() -> None:
    registry = Registry()
    found = {
        name: (registry.get(name).model_type.value, registry.get(name).huggingface_id, registry.get(name).licence)
        for name in ("whisper-tiny", "whisper-base", "yolov8n", "silero-vad", "coqui-tts")
    }
    assert found == {
        "whisper-tiny": ("audio/stt", "openai/whisper-tiny", "apache-2.0"),
        "whisper-base": ("audio/stt", "openai/whisper-base", "apache-2.0"),
        "yolov8n": ("vision/detection", "Ultralytics/YOLOv8", "agpl-3.0"),
        "silero-vad": ("audio/vad", "onnx-community/silero-vad", "mit"),
        "coqui-tts": ("audio/tts", "coqui/XTTS-v2", "coqui-public-model-license"),
    }
    assert {"clip", "stable-diffusion", "bart", "tinyllama", "gpt-2"} <= {
        word for spec in FAMILIES for word in (spec.id, *spec.aliases)
    }
    assert len(registry) == len(list(registry)) == len(DEFAULTS) + len(FAMILIES)
    assert registry.of_repo("OpenAI/whisper-tiny") is registry.find("whisper-tiny")
    assert all(spec.description for spec in FAMILIES)
    assert registry.get("yolov8n").files == ("yolov8n.pt",)


def test_the_specs_of_families_claim_no_name_twice() -> None:
    Registry((*DEFAULTS, *FAMILIES))


def test_a_spec_of_a_family_gives_way_to_ones_own() -> None:
    registry = Registry()
    registry.register_model(ModelSpec("clip", "Mine", ModelType.INSTRUCT, "me/clip"))
    assert registry.get("clip").huggingface_id == "me/clip"
    assert registry.find("clip-vit-base-patch32") is None
    assert registry.aliases().get("clip") is None
    registry.register_model(ModelSpec("ears", "Ears", ModelType.AUDIO_STT, "openai/whisper-tiny"))
    assert registry.find("openai/whisper-tiny") is registry.get("ears")
    assert registry.get("whisper-tiny").huggingface_id == "openai/whisper-tiny"


@pytest.mark.parametrize(
    "name",
    [
        "embedding-ada-002",
        "ada-002",
        "ADA-002",
        "sentence-transformers/all-MiniLM-L6-v2",
        "Sentence-Transformers/all-minilm-l6-v2",
    ],
)
def test_a_spec_is_found_by_id_alias_and_hub_id_in_any_case(name: str) -> None:
    assert Registry().get(name).id == "embedding-ada-002"


def test_an_unknown_name_is_an_error_with_the_nearest_names() -> None:
    registry = Registry()
    assert registry.find("ada-02") is None
    with pytest.raises(UnknownModelError, match="ada-02") as caught:
        registry.get("ada-02")
    assert caught.value.nearest == ("ada-002",)
    assert "ada-002" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("all-MiniLM", ("sentence-transformers/all-MiniLM-L6-v2",)),
        ("minilm", ("sentence-transformers/all-MiniLM-L6-v2",)),
        ("turbo-instrct", ("turbo-instruct",)),
        ("microsoft/DialoGPT-large", ("microsoft/DialoGPT-medium",)),
        ("my-wisper", ("my-whisper",)),
        ("xyzzy", ()),
        ("a", ()),
    ],
)
def test_the_nearest_names_are_those_that_were_meant(typed: str, nearest: tuple[str, ...]) -> None:
    found = Registry().nearest(typed, ["my-whisper"])
    assert found[:1] == nearest
    assert len(found) <= 3


def test_aliases_lead_to_ids() -> None:
    aliases = Registry(DEFAULTS).aliases()
    assert aliases["ada-002"] == "embedding-ada-002"
    assert len(aliases) == 8


def test_a_registered_spec_is_found_and_may_be_registered_again() -> None:
    registry = Registry(DEFAULTS)
    registry.register_model(_OWN)
    registry.register_model(replace(_OWN))
    assert registry.get("mine") == registry.of_repo("ME/mine") == _OWN
    assert len(registry) == 5


def test_two_specs_may_be_of_one_repository_and_the_first_stands_for_it() -> None:
    registry = Registry([_OWN])
    second = replace(_OWN, id="second", aliases=("deux",))
    registry.register_model(second)
    assert registry.get("deux") == second
    assert registry.of_repo("me/mine") == registry.find("me/mine") == _OWN


@pytest.mark.parametrize(
    "clash",
    [
        ModelSpec("other", "", ModelType.INSTRUCT, "x/y", aliases=("mine",)),
        ModelSpec("other", "", ModelType.INSTRUCT, "x/y", aliases=("MINE",)),
        ModelSpec("other", "", ModelType.INSTRUCT, "x/y", aliases=("my-model",)),
        ModelSpec("mine", "", ModelType.INSTRUCT, "x/y"),
        ModelSpec("my-model", "", ModelType.INSTRUCT, "x/y"),
        ModelSpec("other", "", ModelType.INSTRUCT, "mine"),
        ModelSpec("other", "", ModelType.INSTRUCT, "My-Model"),
    ],
)
def test_a_clash_names_both_and_changes_nothing(clash: ModelSpec) -> None:
    registry = Registry([_OWN])
    with pytest.raises(RegistryError, match=f"'{clash.id}'.*x/y|'{clash.id}'.*me/mine") as caught:
        registry.register_model(clash)
    assert "'my-model' (me/mine)" in caught.value.message
    assert f"'{clash.id}' ({clash.huggingface_id})" in caught.value.message
    assert list(registry) == [_OWN]
    assert registry.of_repo(clash.huggingface_id) is None
    assert registry.aliases() == {"mine": "my-model"}


def test_a_bare_hub_id_cannot_be_another_models_alias() -> None:
    registry = Registry([ModelSpec("small", "", ModelType.INSTRUCT, "gpt2")])
    registry.register_model(ModelSpec("gpt-two", "", ModelType.INSTRUCT, "x/y"))
    with pytest.raises(RegistryError, match="small"):
        registry.register_model(ModelSpec("large", "", ModelType.INSTRUCT, "x/z", aliases=("gpt2",)))


def test_a_bare_hub_id_may_be_the_id_of_its_own_spec() -> None:
    spec = ModelSpec("gpt2", "", ModelType.INSTRUCT, "gpt2")
    assert Registry([spec]).get("GPT2") == spec


def _load(tmp_path: Path, text: str) -> Registry:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return Registry.from_config(config.load(config_file=file, environ={}))


def test_users_add_their_own_in_the_configuration_file(tmp_path: Path) -> None:
    registry = _load(
        tmp_path,
        """
        [models."whisper-1.0"]
        type = "audio/stt"
        huggingface_id = "openai/whisper-tiny"
        aliases = ["whisper"]
        """,
    )
    assert registry.get("whisper").id == "whisper-1.0"
    assert registry.get("ada-002").id == "embedding-ada-002"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('type = "poetry"\nhuggingface_id = "a/b"', "'poetry'"),
        ('huggingface_id = "a/b"', "'type' is missing"),
        ('type = "instruct"\nhuggingface_id = "a/b"\ncolour = 1', "'colour'"),
        ('type = "instruct"\nhuggingface_id = "a/b/c"', "'a/b/c'"),
    ],
)
def test_a_malformed_table_is_named_with_file_line_and_entry(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        _load(tmp_path, f"workers = 2\n\n[models.mine]\n{table}\n")
    assert caught.value.message.startswith(f"{tmp_path}/config.toml, line 3, [models.mine]: ")


def test_a_clash_in_the_configuration_file_names_the_place_and_both(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"'mine'.*'embedding-ada-002'") as caught:
        _load(tmp_path, '[models.mine]\ntype = "instruct"\nhuggingface_id = "a/b"\naliases = ["ada-002"]')
    assert "config.toml, line 1, [models.mine]" in caught.value.message
