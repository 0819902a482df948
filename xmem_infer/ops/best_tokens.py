"""Find the best tokens of each query with compiled C++ code that does not store all scores (`best_tokens.cpp`).

The code is compiled on first use and cached per user. This needs Linux or macOS, a C++ compiler and a CPU with AVX2;
AVX-512 and VNNI are used if available. Otherwise torch computes all scores, see `affinity`.
"""

import ctypes
import hashlib
import logging
import os
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
# The last three let the compiler use vectors for sums and rounding; none of them affects NaN or infinity.
OPTIONS = (
    *("-O3", "-mavx2", "-mfma", "-std=c++17", "-shared", "-fPIC", "-pthread"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),
)
# By key of `cpu_capabilities`: for CPUs with AVX-512, and for others.
AVX512_OPTIONS = {"avx512_bw": "-mavx512bw", "avx512_vnni": "-mavx512vnni"}
AVX_OPTIONS = {"avx_vnni": "-mavxvnni"}
MIN_SCORES = 4_000_000  # fewer take milliseconds either way, which does not justify waiting for the compiler


def worth_scanning(device: torch.device, dtype: torch.dtype, scores: int) -> bool:
    """Return whether `scan` supports this device and dtype and is faster for this many scores (queries x tokens)."""
    is_supported = device.type == "cpu" and dtype is torch.float32 and not torch.is_grad_enabled()
    return is_supported and scores >= MIN_SCORES and _compiled() is not None


def scan(
    keys: PackedKeys, query_key: Tensor, selection: Tensor, top_k: int, among: Sequence[Tensor | None]
) -> list[Affinity] | None:
    """Compute `top_k_affinity` of `PackedKeys.similarity`; results may differ from it in ties and rounding.

    Args:
        keys: The keys of the memory.
        query_key: (Q, C_k).
        selection: (Q, C_k).
        top_k: Maximum number of tokens per query.
        among: One entry per result: the indices (n,) of the tokens to choose from, or None for all tokens.

    Returns:
        An affinity for each entry of `among`; None if a number is not finite.
    """
    affinities = []
    with full_precision(query_key):
        queries = query_columns(query_key - keys.centre, selection).contiguous()
    for subset in among:
        tokens = keys.columns if subset is None else keys.columns[subset]
        shape = queries.shape[0], min(top_k, tokens.shape[0])
        scores, index = queries.new_empty(shape), torch.empty(shape, dtype=torch.int64)
        sizes = (*queries.shape, shape[1], torch.get_num_threads())
        results = scores.data_ptr(), index.data_ptr()
        if _compiled()(tokens.data_ptr(), tokens.shape[0], queries.data_ptr(), *sizes, *results):
            return None
        affinities.append(Affinity(index if subset is None else subset[index], scores.softmax(1)))
    return affinities


@cache
def _compiled() -> Any:
    """Return the compiled function, compiling it if necessary; None if that is not possible."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return None
    capabilities = cpu_capabilities()
    known = AVX512_OPTIONS if capabilities.get("avx512_bw") else AVX_OPTIONS
    vectors = tuple(option for name, option in known.items() if capabilities.get(name))
    try:
        try:
            function = ctypes.CDLL(str(_library((*OPTIONS, *vectors)))).best_tokens
        except subprocess.CalledProcessError:  # the compiler is older than these instructions
            function = ctypes.CDLL(str(_library(OPTIONS))).best_tokens
    except (OSError, subprocess.SubprocessError) as error:
        log.info("memory is read by torch, at about half the speed: %s does not compile here: %s", SOURCE, error)
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_long
    function.argtypes = [pointer, number, pointer, number, number, number, number, pointer, pointer]
    return function


def _library(options: Sequence[str]) -> Path:
    """Return the library compiled with these options, from the user's cache if it is there."""
    folder = user_cache()
    name = hashlib.sha256(SOURCE.read_bytes() + " ".join(options).encode()).hexdigest()[:20]
    library = folder / f"best_tokens-{name}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary) / library.name
            command = [os.environ.get("CXX") or "c++", *options, str(SOURCE), "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            path.replace(library)
    return library
