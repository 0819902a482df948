"""Video object segmentation you can rely on: XMem and Cutie, frame by frame, with bounded memory use.

    from xmem_infer import Segmenter

    segmenter = Segmenter.from_weights("weights/XMem.pth")
    for result in segmenter.segment("video.mp4", mask="first_frame.png"):
        result.mask  # (H, W) uint8

Public names are imported on first use, so that reading a mask or scoring a folder does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "Segmenter": "predictor",
    "FrameResult": "results",
    "Results": "results",
    "propagate": "propagation.propagate",
    "remember": "propagation.propagate",
    **dict.fromkeys(("load_memory", "save_memory"), "propagation.memory_files"),
    "Engine": "engine.engine",
    "prepare": "runtime.backends.prepare",
    "load_network": "weights.build",
    **dict.fromkeys(("DataConfig", "DatasetConfig", "EvalConfig", "ExecutorConfig", "MemoryConfig"), "config"),
    **dict.fromkeys(("OutputConfig", "RuntimeConfig", "TtaConfig", "GivenMasks", "SavedFrames"), "config"),
    **dict.fromkeys(
        ("Device", "Direction", "GradMode", "LateObjects", "MaskPolicy", "OnCorrupt", "Precision"), "config"
    ),
    **dict.fromkeys(("Frame", "LabelMask", "ObjectConfidence"), "types"),
    **dict.fromkeys(("EnvironmentFault", "UsageError", "VideoError", "WeightsError", "XMemInferError"), "errors"),
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
