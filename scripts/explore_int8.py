"""What int8 would buy and cost on this machine: time of convolutions, masks of a real clip. Prints, ships nothing.

python scripts/explore_int8.py [VIDEO_DIR MASK]   (default: the example clip)
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from xmem_infer.config import DataConfig, Precision, RuntimeConfig
from xmem_infer.io.frames import open_frames
from xmem_infer.io.masks import read_mask
from xmem_infer.lab.benchmark.int8 import CONVOLUTIONS, conv_ms, quantised
from xmem_infer.predictor import Segmenter
from xmem_infer.weights.build import load_network
from xmem_infer.weights.manifest import resolve_weights

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "clip"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", type=Path, default=EXAMPLE / "JPEGImages" / "scene")
    parser.add_argument("mask", nargs="?", type=Path, default=EXAMPLE / "Annotations" / "scene" / "00000.png")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for shape in CONVOLUTIONS:
        half, integer = conv_ms(shape, args.rounds)
        print(f"{shape}: bf16 {half:.1f} ms, int8 {integer:.1f} ms, {half / integer:.2f}x")
    data = DataConfig(size=args.size)
    network, mask = load_network(resolve_weights(args.weights)).network, read_mask(args.mask, data.max_pixels)
    images = [frame.image for frame in open_frames(args.video, data)]
    ways = {
        "fp32": (network, Precision.fp32, "eager"),
        "bf16 autocast": (network, Precision.bf16, "eager"),
        "bf16 fast": (network, Precision.bf16, "fast"),
        "int8, calibrated on the first 10 frames": (
            quantised(network, images[:10], mask, data), Precision.fp32, "eager"
        ),
    }  # fmt: skip
    masks = {}
    for name, (made, precision, variant) in ways.items():
        runtime = RuntimeConfig(precision=precision, variant=variant)
        masks[name] = [r.labels for r in Segmenter(made, None, runtime, data).segment(images, mask)]
        differ = np.mean([a != b for a, b in zip(masks[name], masks["fp32"], strict=True)])
        print(f"{name}: {differ:.3%} of the pixels differ from fp32")


if __name__ == "__main__":
    main()
