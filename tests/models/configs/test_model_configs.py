from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from casmodels.configs.model_configs import ModelConfig, read_model_configs, write_model_configs
from casmodels.errors import ConfigurationError
from casmodels.specs import ModelType
from casstore.errors import DiskError, TooManyFilesError

BASE: dict[str, Any] = {
    "type": "audio/stt",
    "device": "cuda:1",
    "dtype": "fp16",
    "batch_size": 16,
    "isolated": True,
    "options": {"beam_size": 5, "nested": {"a": [1, None, "ä"]}},
}


def written(path: Path, text: str) -> Path:
    file = path / "model_configs.json"
    file.write_text(text)
    return file


def test_configurations_are_read_and_written(tmp_path: Path) -> None:
    configs = read_model_configs(written(tmp_path, json.dumps({"models": {"whisper-base": BASE, "mine": {}}})))
    assert configs["mine"] == ModelConfig()
    base = configs["whisper-base"]
    assert (base.type, base.device, base.dtype, base.batch_size) == (ModelType.AUDIO_STT, "cuda:1", "fp16", 16)
    assert (base.isolated, base.options) == (True, BASE["options"])
    new = tmp_path / "new" / "model_configs.json"
    write_model_configs(new, configs)
    assert json.loads(new.read_text()) == {"models": {"whisper-base": BASE, "mine": {}}}
    assert read_model_configs(new) == configs


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('"mine": 7', "models.mine: must be an object, not 7"),
        ('"mine": {"devise": "cpu"}', "unknown field 'devise' in line 3"),
        ('"mine": {"device": 0}', "device: must be a string"),
        ('"mine": {"device": "the GPU"}', "device: 'the GPU' is no device"),
        ('"mine": {"dtype": "int7"}', "dtype: 'int7' is no dtype"),
        ('"mine": {"batch_size": 0}', "batch_size: must be a whole number from 1"),
        ('"mine": {"batch_size": 8.5}', "batch_size: must be a whole number"),
        ('"mine": {"batch_size": true}', "batch_size: must be a whole number"),
        ('"mine": {"isolated": "yes"}', "isolated: must be true or false"),
        ('"mine": {"options": []}', "options: must be an object"),
        ('"mine": {"type": "audio/poetry"}', "type: 'audio/poetry' is not a type"),
        ('"../mine": {}', "'../mine' cannot be a name"),
        ('"org/mine": {}', "'org/mine' has a slash"),
        ('"mine": {"options": {"a": 1, "a": 2}}', "'a' stands there twice"),
        ('"ONE": {}', "models.ONE: the name stands there twice"),
        ('"one": {}', "'one' stands there twice, first in line 2"),
    ],
)
def test_a_wrong_entry_is_named_in_one_sentence(tmp_path: Path, entry: str, words: str) -> None:
    file = written(tmp_path, '{"models": {\n"one": {},\n' + entry + "}}")
    with pytest.raises(ConfigurationError) as caught:
        read_model_configs(file)
    assert caught.value.message.startswith(f"{file}, line 3")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["[]", "{}", '{"models": []}', '{"models": {}, "more": 1}'])
def test_what_is_no_file_of_configurations_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"model_configs\.json, line 1"):
        read_model_configs(written(tmp_path, text))


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, DiskError), (errno.EMFILE, TooManyFilesError), (errno.EACCES, ConfigurationError)]
)
def test_a_machine_that_fails_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(kind, match=r"model_configs\.json|too many files"):
        read_model_configs(tmp_path / "model_configs.json")
