"""Milliseconds per frame of this project against the published formulation, interleaved, as a table.

python scripts/benchmark.py [--weights PATH] [--objects N] [--size H W] [--rounds N]
"""

import argparse
import copy
from pathlib import Path

import torch

from xmem_infer.benchmark.frames import Variant, median_frame_ms
from xmem_infer.benchmark.published import PublishedEngine, prepare_published
from xmem_infer.config import Precision
from xmem_infer.engine.engine import Engine
from xmem_infer.model.network import XMem
from xmem_infer.runtime.prepare import prepare
from xmem_infer.weights.build import load_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="default: the published network's sizes with random weights")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = load_network(args.weights).network if args.weights else XMem().eval()
    plain, ours = prepare_published(copy.deepcopy(network)), prepare(network, torch.device("cpu"))
    variants = [
        Variant(f"{name}, {precision.value}", make, precision)
        for name, make in (
            ("published formulation", lambda config: PublishedEngine(plain, config)),
            ("this project", lambda config: Engine(ours, config)),
        )
        for precision in (Precision.fp32, Precision.bf16)
    ]
    times = median_frame_ms(variants, args.objects, *args.size, rounds=args.rounds)
    height, width = args.size
    print(f"{width}x{height}, {args.objects} objects, working memory filled, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}, median of {args.rounds} interleaved cycles of 5 frames")
    slowest = times[variants[0].name]
    for name, spent in times.items():
        print(f"{name:32} {spent:8.0f} ms a frame   {slowest / spent:5.2f}x")


if __name__ == "__main__":
    main()
