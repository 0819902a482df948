"""The best tokens of each query by a compiled function that keeps no scores: `best_tokens.cpp`.

It is compiled where it is needed first, once for this user, and needs Linux or macOS, a C++ compiler and a CPU with
AVX2 (AVX-512 and VNNI are used where the CPU has them). Elsewhere scores are multiplied out by torch.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..user_cache import user_cache
from .affinity import Affinity, PackedKeys, full_precision, query_columns
from .cpu import cpu_capabilities

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("best_tokens.cpp")
OPTIONS = ("-O3", "-mavx2", "-mfma", "-std=c++17", "-shared", "-fPIC", "-pthread")
WIDER = {"avx512_bw": "-mavx512bw", "avx512_vnni": "-mavx512vnni"}  # by what `cpu_capabilities` says
FEWEST_SCORES = 4_000_000  # fewer take milliseconds either way: nobody waits for a compiler then


def worth_scanning(device: torch.device, dtype: torch.dtype, scores: int) -> bool:
    """Whether `scan` can read keys there, and is worth it for so many scores (queries times tokens)."""
    plain = device.type == "cpu" and dtype is torch.float32 and not torch.is_grad_enabled()
    return plain and scores >= FEWEST_SCORES and _compiled() is not None


def scan(
    keys: PackedKeys, query_key: Tensor, selection: Tensor, top_k: int, among: Sequence[Tensor | None]
) -> list[Affinity] | None:
    """What `top_k_affinity` finds in `PackedKeys.similarity`, but for ties and rounding.

    query_key and selection (Q, C_k); among: for each result the tokens (n,) to choose from, None for all of them. None
    where a number is not finite.
    """
    found = []
    with full_precision(query_key):
        queries = query_columns(query_key - keys.centre, selection).contiguous()
    for column in among:
        tokens = keys.columns[: keys.tokens] if column is None else keys.columns[column]
        shape = queries.shape[0], min(top_k, tokens.shape[0])
        scores, index = queries.new_empty(shape), torch.empty(shape, dtype=torch.int64)
        sizes = (*queries.shape, shape[1], torch.get_num_threads())
        results = scores.data_ptr(), index.data_ptr()
        if _compiled()(tokens.data_ptr(), tokens.shape[0], queries.data_ptr(), *sizes, *results):
            return None
        found.append(Affinity(index if column is None else column[index], scores.softmax(1)))
    return found


@cache
def _compiled() -> Any:
    """The function; None where it cannot be had."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return None
    has = cpu_capabilities()
    options = (*OPTIONS, *(option for name, option in WIDER.items() if has.get(name)))
    folder = user_cache()
    name = hashlib.sha256(SOURCE.read_bytes() + " ".join(options).encode()).hexdigest()[:20]
    library = folder / f"best_tokens-{name}.so"
    try:
        if not library.exists():
            if compiler is None:
                log.info("no C++ compiler here: memory is read by torch, at about half the speed")
                return None
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as made:
                path = Path(made) / library.name
                command = [compiler, *options, str(SOURCE), "-o", str(path)]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
                path.replace(library)
        function = ctypes.CDLL(str(library)).best_tokens
    except (OSError, subprocess.SubprocessError) as error:
        log.info("memory is read by torch, at about half the speed: %s does not compile here: %s", SOURCE, error)
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_long
    function.argtypes = [pointer, number, pointer, number, number, number, number, pointer, pointer]
    return function
