"""The compiled top-k search compared with sorting all scores."""

import pytest
import torch

from xmem_infer.config import MemoryConfig
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.model.network import KeyFeatures
from xmem_infer.ops import best_tokens
from xmem_infer.ops.affinity import PackedKeys, memory_columns, query_columns

compiled = pytest.mark.skipif(best_tokens._compiled() is None, reason="no C++ compiler or no AVX2 here")


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(best_tokens, "MIN_SCORES", 1)
    with torch.no_grad():
        yield


def drawn(kind, channels, tokens, queries):
    generator = torch.Generator().manual_seed(tokens)
    key, query = (torch.randn(n, channels, generator=generator) for n in (tokens, queries))
    if kind == "alike":  # like the keys of a black image
        key = key[:7].repeat(tokens // 7 + 1, 1)[:tokens]
    elif kind == "equal":
        key = torch.ones(tokens, channels)
    elif kind == "uneven":  # columns of very different sizes, one of zeros
        size = torch.logspace(-4, 3, channels)
        key, query = key * size, query * size
        key[:, 2], query[:, 2] = 0, 0
    shrinkage, selection = 1 + torch.rand(tokens, generator=generator), torch.rand(query.shape, generator=generator)
    return PackedKeys(memory_columns(key, shrinkage), torch.zeros(channels)), query, selection


@compiled
@pytest.mark.parametrize("kind", ["plain", "alike", "equal", "uneven"])
@pytest.mark.parametrize(
    ("channels", "tokens", "queries", "top_k"), [(32, 3001, 50, 30), (64, 2500, 9, 30), (5, 700, 3, 1), (6, 20, 2, 30)]
)
def test_the_search_equals_sorting(kind, channels, tokens, queries, top_k):
    keys, query, selection = drawn(kind, channels, tokens, queries)
    every_third = torch.arange(0, tokens, 3)
    assert best_tokens.worth_scanning(query.device, query.dtype, tokens)
    columns, rows = keys.columns.double(), query_columns(query, selection).double()
    scores = rows @ columns.T
    rounding = 1e-5 * (rows.abs() @ columns.abs().T).amax(1, keepdim=True)
    for affinity, among in zip(
        best_tokens.scan(keys, query, selection, top_k, [None, every_third]),
        [torch.arange(tokens), every_third],
        strict=True,
    ):
        best = scores[:, among].sort(1, descending=True).values[:, :top_k]
        found = scores.gather(1, affinity.token).sort(1, descending=True).values
        assert found.shape == best.shape and ((best - found).abs() <= rounding).all()
        assert all(row.unique().numel() == row.numel() and torch.isin(row, among).all() for row in affinity.token)
        expected = scores.gather(1, affinity.token).softmax(1)
        assert ((affinity.weight - expected).abs() <= 2 * rounding).all()


@compiled
@pytest.mark.parametrize("broken", ["tokens", "queries"])
def test_non_finite_values_are_passed_to_torch(broken):
    keys, query, selection = drawn("plain", 8, 900, 20)
    (keys.columns if broken == "tokens" else query)[7, 3] = torch.nan
    assert best_tokens.scan(keys, query, selection, 5, [None]) is None


def reads():
    """Return the reads of a memory with late objects and consolidations, and its statistics."""
    generator = torch.Generator().manual_seed(0)
    found, memory = [], None
    for frame in range(16):
        key, shrinkage, selection = (torch.rand(1, c, 5, 6, generator=generator) for c in (8, 1, 8))
        features = KeyFeatures(key, 1 + shrinkage, selection, *[torch.empty(0)] * 3)
        memory = memory or XMemMemory(MemoryConfig(max_working_frames=5, min_working_frames=2, top_k=4), features)
        if frame:
            found.append(torch.cat(memory.read(features), 1))
        memory.add(features, torch.randn(1, 1 + (frame > 3) + (frame > 7), 3, 5, 6, generator=generator))
    return found, memory.store.use[memory.store.filled]


@compiled
def test_memory_reads_are_the_same_without_the_compiled_search(monkeypatch):
    found, use = reads()
    monkeypatch.setattr(best_tokens, "MIN_SCORES", 10**12)
    torch.testing.assert_close(reads(), (found, use))


def test_without_a_compiler_torch_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(best_tokens, "_compiled", best_tokens._compiled.__wrapped__)
    assert not best_tokens.worth_scanning(torch.device("cpu"), torch.float32, 10)


@compiled
def test_an_old_compiler_compiles_for_avx2(monkeypatch, tmp_path):
    compiler = tmp_path / "old-compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *unknown-vectors*) exit 1;; esac\nexec c++ "$@"\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for options in ("AVX512_OPTIONS", "AVX_OPTIONS"):
        monkeypatch.setattr(best_tokens, options, {"avx2": "-munknown-vectors"})
    assert best_tokens._compiled.__wrapped__() is not None


def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert best_tokens._compiled.__wrapped__() is None
    assert not list(tmp_path.rglob("*.so*"))
