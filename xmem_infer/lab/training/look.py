"""How a scene looks: colour drift, blur, noise, the same for every layer."""

import numpy as np

from .motion import Rng, walk


def change_look(rng: Rng, images: np.ndarray) -> np.ndarray:
    """(T, S, S, 3) uint8 -> the same, contiguous, with colours, sharpness and noise changed."""
    import cv2

    frames = len(images)
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3) + walk(rng, frames, (3,), 0.02, 0.03))
    shift = rng.normal(0, 10) + walk(rng, frames, (1,), 3, 4)
    gamma = np.exp(rng.normal(0, 0.15) + walk(rng, frames, (1,), 0.02, 0.03))
    blurred = rng.random() < 0.2
    noisy = rng.random() < 0.3
    grey = rng.random() < 0.04
    out = np.empty_like(images, order="C")
    level = np.linspace(0, 1, 256)[:, None]
    for t in range(frames):
        table = (255 * level ** gamma[t] * gain[t] + shift[t]).clip(0, 255).astype(np.uint8)
        frame = cv2.LUT(np.ascontiguousarray(images[t]), table[None])
        if grey:
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if blurred and rng.random() < 0.7:
            frame = _blur(rng, frame)
        if noisy:
            grain = np.empty(frame.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
            cv2.randn(grain, np.zeros(3), np.full(3, rng.uniform(2, 9)))
            frame = (frame + grain).clip(0, 255).astype(np.uint8)
        out[t] = frame
    return out


def _blur(rng: Rng, frame: np.ndarray) -> np.ndarray:
    import cv2

    reach = max(3, frame.shape[0] // 32) | 1
    if rng.random() < 0.5:
        return cv2.GaussianBlur(frame, (0, 0), float(rng.uniform(0.4, 0.25 * reach)))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((reach, reach), np.float32)
    middle = reach // 2
    step = (np.array([np.cos(angle), np.sin(angle)]) * middle).round().astype(int)
    cv2.line(kernel, (middle - step[0], middle - step[1]), (middle + step[0], middle + step[1]), 1.0)
    return cv2.filter2D(frame, -1, kernel / kernel.sum())
