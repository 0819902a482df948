"""Time the top-k search of a full memory at 480p, by torch and by the compiled search, in alternating rounds.

Run `python -m xmem_infer.lab.memory_read [THREADS]`. The keys are a random walk over the picture and noisy copies.
"""

import argparse
import sys
from statistics import median
from time import perf_counter

import torch

from ..memory.manager import MAX_SCORES
from ..ops.affinity import PackedKeys, memory_columns, padded_count, top_k_affinity
from ..ops.best_tokens import scan, worth_scanning

QUERIES, FRAMES, ROUNDS, TOP_K = 1620, 9, 9, 30


def measure(channels: int) -> tuple[float, float]:
    """Return the median milliseconds of torch and of the compiled search, for keys with this number of channels."""
    torch.manual_seed(0)
    tokens = QUERIES * FRAMES
    query = torch.randn(QUERIES, channels).cumsum(0) / 20
    selection = torch.rand(QUERIES, channels)
    columns = torch.zeros(padded_count(tokens), 2 * channels + 1)
    memory = query.repeat(FRAMES, 1) + 0.3 * torch.randn(tokens, channels)
    columns[:tokens] = memory_columns(memory, torch.ones(tokens))
    keys = PackedKeys(columns, torch.zeros(channels), tokens)
    chunk = MAX_SCORES // padded_count(tokens)

    def by_torch() -> None:
        packed = PackedKeys(columns, keys.centre, tokens)
        for part in zip(query.split(chunk), selection.split(chunk), strict=True):
            top_k_affinity(packed.similarity(*part), TOP_K)

    searches = by_torch, lambda: scan(keys, query, selection, TOP_K, [None])
    times: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for search, spent in zip(searches, times, strict=True):
            started = perf_counter()
            search()
            spent.append(1000 * (perf_counter() - started))
    return median(times[0]), median(times[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("threads", metavar="THREADS", type=int, nargs="?", default=1, help="default: 1")
    torch.set_num_threads(parser.parse_args().threads)
    with torch.no_grad():
        if not worth_scanning(torch.device("cpu"), torch.float32, QUERIES**2 * FRAMES):
            sys.exit("no C++ compiler or no AVX2 here")
        for name, channels in (("xmem-tiny", 32), ("published sizes", 64)):
            print("{}: torch {:.1f} ms, compiled search {:.1f} ms".format(name, *measure(channels)))
