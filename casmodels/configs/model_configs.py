"""`model_configs.json`: how models are to be run, by their names.

{"models": {"whisper-base": {"device": "cuda", "dtype": "fp16", "batch_size": 16, "options": {"beam_size": 5}},
            "btc-lstm": {"type": "trading/predictor"}}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from casmodels.configs.json_file import JsonFile, checked_text, json_bytes, read_json, shown, write_file
from casmodels.configs.names import checked_name
from casmodels.errors import ConfigurationError
from casmodels.specs import ModelType, parse_model_type
from casstore.errors import InvalidInputError

DTYPES: Final = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")

_DEVICE: Final = re.compile(r"[a-z]{2,16}(:[0-9]{1,3})?\Z")
_LARGEST_BATCH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How one model is to be run; None leaves it to whoever loads it.

    ``type`` says what a model does that nobody else knows of; ``device`` is ``cpu``, ``cuda``, ``cuda:1``, …;
    ``dtype`` one of `DTYPES`; ``isolated`` runs it in a process of its own; ``options`` go to the loader as they are.
    ``where`` names file, line and entry for messages.
    """

    type: ModelType | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    isolated: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    def to_fields(self) -> dict[str, object]:
        """The fields as JSON names them, without those that say nothing."""
        fields: dict[str, object] = {
            "type": self.type.value if self.type is not None else None,
            "device": self.device,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "isolated": self.isolated,
            "options": dict(self.options) or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


def read_model_configs(path: Path) -> dict[str, ModelConfig]:
    """The configurations by name. Raises NotFoundError, and ConfigurationError that names file, line and entry."""
    file = read_json(path)
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
        raise ConfigurationError(
            f"{file.where()}: not a file of model configurations", remedy='write {"models": { … }}'
        )
    file.refuse_others((), content, ["models"])
    configs: dict[str, ModelConfig] = {}
    folded: dict[str, str] = {}
    for name, fields in content["models"].items():
        configs[name] = _config(file, name, fields)
        before = folded.setdefault(name.casefold(), name)
        if before != name:
            first = file.where("models", before)
            raise ConfigurationError(
                f"{configs[name].where}: the name stands there twice, first in {first}", remedy="leave one of them out"
            )
    return configs


def write_model_configs(path: Path, configs: Mapping[str, ModelConfig]) -> None:
    """Write the file in one step; what is read from it again is equal."""
    write_file(path, model_configs_bytes(configs))


def model_configs_bytes(configs: Mapping[str, ModelConfig]) -> bytes:
    """The content of such a file."""
    return json_bytes({"models": {name: config.to_fields() for name, config in configs.items()}})


def _config(file: JsonFile, name: str, fields: object) -> ModelConfig:
    keys = ("models", name)
    try:
        checked_name(name)
    except InvalidInputError as error:
        what = f"{file.path}, line {file.line(*keys)}: {error.message}"
        raise ConfigurationError(what, remedy=error.remedy) from error
    where = file.where(*keys)
    if not isinstance(fields, dict):
        raise ConfigurationError(f"{where}: must be an object, not {shown(fields)}")
    file.refuse_others(keys, fields, _FIELDS)
    return ModelConfig(where=where, **file.read_fields(keys, fields, _FIELDS))


def _device(value: object) -> str:
    device = checked_text(value)
    if not _DEVICE.match(device):
        raise InvalidInputError(f"{device!r} is no device", remedy="such as cpu, cuda, cuda:1 or mps")
    return device


def _dtype(value: object) -> str:
    dtype = checked_text(value)
    if dtype not in DTYPES:
        raise InvalidInputError(f"{dtype!r} is no dtype", remedy=f"they are {', '.join(DTYPES)}")
    return dtype


def _batch_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_BATCH:
        raise InvalidInputError(f"must be a whole number from 1 to {_LARGEST_BATCH}, not {shown(value)}")
    return value


def _isolated(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"must be true or false, not {shown(value)}")
    return value


def _options(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"must be an object, not {shown(value)}")
    return value


_FIELDS: Final[Mapping[str, Callable[[object], Any]]] = {
    "type": lambda value: parse_model_type(checked_text(value)),
    "device": _device,
    "dtype": _dtype,
    "batch_size": _batch_size,
    "isolated": _isolated,
    "options": _options,
}
