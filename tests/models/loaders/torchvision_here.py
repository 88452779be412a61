"""torchvision beside whatever torch is here.

PyPI's torchvision for Linux is compiled for GPUs. Beside a torch that is not, its own operations cannot be loaded, and
without them it cannot be imported. Then these are declared by name; the one that YOLO uses, which drops boxes that
others cover, is done by what ultralytics has for the case that there is no torchvision.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        from ultralytics.utils.nms import TorchNMS

        return TorchNMS.nms(boxes, scores, iou_threshold)

    torchvision.ops.nms = _nms
