"""Settings that name something on the Hub: nothing is asked for, while other threads go on as they did."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import hf_api

from casmodels.errors import NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.offline import offline
from tests.hub import FakeHub
from tests.models.loaders.test_weights import archive

Saver = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub that would be asked, and a home of the user's."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with FakeHub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
        if "transformers" in sys.modules:  # its own client may be an older one
            monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        yield hub


def test_other_threads_go_on(hub: FakeHub) -> None:
    hub.add("org/bb", {"config.json": b"{}"})
    with offline("mine"), ThreadPoolExecutor(1) as other:
        assert other.submit(huggingface_hub.repo_exists, "org/bb").result()
    asked = len(hub.seen)
    assert asked
    with pytest.raises(NotLoadableError, match="the settings of mine name something"), offline("mine"):
        huggingface_hub.repo_exists("org/bb")
    assert len(hub.seen) == asked
    assert huggingface_hub.repo_exists("org/bb")


HOSTILE: dict[str, dict[str, Any]] = {
    "upernet": {"architectures": ["UperNetForSemanticSegmentation"]},
    "detr": {"architectures": ["DetrForObjectDetection"], "use_timm_backbone": False},
    "dpt": {"architectures": ["DPTForDepthEstimation"], "is_hybrid": False},
    "vitmatte": {"architectures": ["VitMatteForImageMatting"]},
}


@pytest.mark.torch
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_backbone_on_the_hub_is_not_asked_for(
    store: Store, saved: Saver, tmp_path: Path, hub: FakeHub, kind: str
) -> None:
    pytest.importorskip("transformers")
    config = {"model_type": kind, "backbone": "org/bb", "use_pretrained_backbone": True, **HOSTILE[kind]}
    saved({"config.json": json.dumps(config).encode(), "pytorch_model.bin": _weights()})
    with pytest.raises(NotLoadableError, match=r"the settings of mine@\w{12} name something that is not in it"):
        load_model(store, "mine", device="cpu")
    assert hub.seen == []
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.torch
@pytest.mark.parametrize("name", ["AutoConfig", "BertTokenizer", "AutoTokenizer", "logging", "pipeline", "Trainer"])
def test_what_is_no_class_of_models_is_not_asked_to_load(
    store: Store, saved: Saver, tmp_path: Path, hub: FakeHub, name: str
) -> None:
    pytest.importorskip("transformers")
    config = {"model_type": "bert", "architectures": [name]}
    saved({"config.json": json.dumps(config).encode(), "pytorch_model.bin": _weights()})
    with pytest.raises(NotLoadableError, match=rf"config\.json in mine@\w{{12}} names '{name}' of transformers"):
        load_model(store, "mine", device="cpu")
    with pytest.raises(NotLoadableError, match=rf"architecture= names '{name}' of transformers, which is no class"):
        load_model(store, "mine", device="cpu", architecture=name)
    assert hub.seen == []
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.torch
def test_a_component_of_a_pipeline_asks_for_nothing(store: Store, saved: Saver, tmp_path: Path, hub: FakeHub) -> None:
    pytest.importorskip("diffusers")
    index = {"_class_name": "DDPMPipeline", "unet": ["transformers", "UperNetForSemanticSegmentation"]}
    config = {"model_type": "upernet", "backbone": "org/bb"}
    saved(
        {
            "model_index.json": json.dumps(index).encode(),
            "unet/config.json": json.dumps(config).encode(),
            "unet/pytorch_model.bin": _weights(),
        }
    )
    with pytest.raises(NotLoadableError, match=r"the settings of mine@\w{12} name something that is not in it"):
        load_model(store, "mine", device="cpu")
    assert hub.seen == []
    assert list((tmp_path / "home").rglob("*")) == []


def _weights() -> bytes:
    import torch

    return archive({"a": torch.zeros(2)})
