"""The cache of OpenVINO models on disk: where a network's models lie, and how processes share it."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from ... import __version__
from ...io.atomic import Staged
from ...user_cache import user_cache

log = logging.getLogger(__name__)

Key = tuple[str, int, int, tuple[Any, ...]]
"""Verb, objects at once, number of threads, and for each argument its shape if it is a tensor, else its value."""


def installed_version(package: str) -> str | None:
    """Return the version of an installed package without importing it, or None if it is not installed."""
    try:
        return version(package) if find_spec(package) else None
    except (PackageNotFoundError, ValueError):
        return None


def openvino_version() -> str | None:
    """Return the version of the installed OpenVINO, or None if there is none."""
    return installed_version("openvino")


def has_models(network: nn.Module, toolchain: str = "") -> bool:
    """Return whether there are cached models of this network; toolchain: see `models_folder`."""
    can_have = openvino_version() is not None and _cache().is_dir()
    return can_have and any(models_folder(network, toolchain).glob("[!.]*/*.xml"))


def models_folder(network: nn.Module, toolchain: str = "") -> Path:
    """Return the folder for a network's models in the user's cache, named after a hash of its weights and the tools.

    toolchain: other tools and settings that the models depend on, besides OpenVINO, torch and this package.
    """
    tools = f"{__version__} {openvino_version()} {torch.__version__} {type(network).__qualname__}{toolchain}"
    digest = hashlib.sha256(tools.encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return _cache() / digest.hexdigest()[:20]


def _cache() -> Path:
    return user_cache() / "openvino"


def model_folder(folder: Path, key: Key) -> Path:
    """Return the folder of one model; it does not depend on the number of threads."""
    verb, chunk, _, shapes = key
    return folder / f"{verb}-{hashlib.sha256(repr((chunk, shapes)).encode()).hexdigest()[:16]}"


def store_model(write: Callable[[Path], object], folder: Path) -> None:
    """Let `write` fill a model's folder in the cache, unless another process has stored a model there meanwhile.

    A failure is logged and otherwise ignored.
    """
    try:
        with _locked(folder) as staged:
            if not (folder / "model.xml").is_file():
                staged.prepare()
                staged.partial.mkdir()
                write(staged.partial)
                staged.publish()
    except (OSError, RuntimeError) as error:
        log.info(f"OpenVINO's model could not be saved in {folder}; the next run builds it again: {error}")


def remove_model(folder: Path) -> None:
    """Remove a rejected model from the cache; the next run builds it again from its own frames."""
    with suppress(OSError), _locked(folder) as staged:
        staged.withdraw()


@contextmanager
def _locked(folder: Path) -> Iterator[Staged]:
    """Lock the folder of a model for the block, so that other processes that build the same model wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Staged(folder)
    with FileLock(folder.with_name(".lock")):
        try:
            yield staged
        finally:
            staged.discard()
