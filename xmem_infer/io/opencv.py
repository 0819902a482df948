"""Import OpenCV on demand, with installation advice if that fails."""

from types import ModuleType

from ..errors import EnvironmentFault


def opencv(what: str) -> ModuleType:
    """Import and return cv2. Raises EnvironmentFault, whose message starts with `what`, for example "scores need"."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            f"{what} OpenCV, which does not load here: {error}. Install it: `pip install opencv-python` (which "
            "needs libGL: `apt install libgl1`), or on a server `pip install opencv-python-headless`; eval.py goes "
            "without it under output.overlay=false output.preview=false"
        ) from error
    return cv2
