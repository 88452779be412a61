"""Where models lie in a directory of models, by what they do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from casmodels.specs import ModelType

FOLDERS: Final[Mapping[ModelType, str]] = MappingProxyType(
    {
        ModelType.AUDIO_STT: "audio/whisper",
        ModelType.AUDIO_TTS: "audio/tts",
        ModelType.AUDIO_VAD: "audio/vad",
        ModelType.VISION_DETECTION: "vision/object_detection",
        ModelType.VISION_EMBEDDING: "vision/embeddings",
        ModelType.VISION_GENERATION: "vision/image_generation",
        ModelType.VISION_RECOGNITION: "vision/face_recognition",
        ModelType.TEXT_EMBEDDING: "nlp/embeddings",
        ModelType.TEXT_CLASSIFICATION: "nlp/classifiers",
        ModelType.TEXT_GENERATION: "nlp/generators",
        ModelType.CHAT_COMPLETION: "nlp/generators",
        ModelType.INSTRUCT: "nlp/generators",
        ModelType.TRADING_PREDICTOR: "trading/predictors",
        ModelType.TRADING_RL: "trading/rl",
        ModelType.TRADING_ANOMALY: "trading/anomaly",
    }
)
OTHER: Final = "other"
"""For models whose type nobody knows."""

HUB_CACHE: Final = "cache/huggingface"
CONFIGS: Final = "configs"
DOWNLOAD_LIST: Final = "download_list.json"
MODEL_CONFIGS: Final = "model_configs.json"

ALWAYS: Final = tuple(
    dict.fromkeys(folder for folder in FOLDERS.values() if folder != FOLDERS[ModelType.VISION_EMBEDDING])
)
"""Folders that are there even with no model in them. Embeddings of images, which the programs before had no folder for,
get theirs with the first."""


def folder_of(model_type: ModelType | None) -> str:
    """The folder for models of a type."""
    return FOLDERS[model_type] if model_type is not None else OTHER
