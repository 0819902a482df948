"""Versions of what a result depends on; light, since it is asked for where nothing heavy is loaded."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("xmem-infer", "torch", "torchvision", "numpy", "opencv-python", "av", "pillow", "hydra-core")


def versions() -> dict[str, str]:
    """Of Python and the packages, and the commit of a checkout."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _commit() -> str | None:
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
