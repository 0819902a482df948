"""Versions of the software that a result depends on, looked up without importing the packages."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("xmem-infer", "torch", "torchvision", "numpy", "opencv-python", "av", "pillow", "hydra-core")


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages and, in a git checkout, the commit."""
    result = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "not installed"
    commit = _commit()
    return {**result, "commit": commit} if commit else result


def _commit() -> str | None:
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
