"""What needs no network: the first mask copied, and the first mask carried along by optical flow."""

import numpy as np

from .validation import Clip


def copy_first(clip: Clip) -> list[np.ndarray]:
    """The first mask for every frame."""
    return [clip.labels()[0]] * len(clip.masks)


def carry_by_flow(clip: Clip) -> list[np.ndarray]:
    """The first mask moved from frame to frame by OpenCV's DIS flow (medium preset), nearest label."""
    import cv2

    # DIS without variational refinement would be faster and coarser; medium is OpenCV's middle setting.
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    labels = clip.labels()[0]
    height, width = labels.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    carried = [labels]
    before: np.ndarray | None = None
    for image in clip.images():
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if before is not None:
            # From the new frame back to the old one: where each new pixel takes its label from.
            back = flow.calc(grey, before, np.zeros((height, width, 2), np.float32))
            where_x, where_y = columns + back[..., 0], rows + back[..., 1]
            carried.append(cv2.remap(carried[-1], where_x, where_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
        before = grey
    return carried
