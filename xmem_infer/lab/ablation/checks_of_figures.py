"""Checks of claims about memory and time, decided by runs in child processes and by timing."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import product
from statistics import median
from timeit import timeit

import torch
from torch import Tensor, nn

from ...config import GradMode
from ..child import Event
from ..report import megabytes
from .comparisons import DOCUMENTED_SAVING
from .evidence import LINEAR_MODES, Creation, Evidence, NotMeasured, Subject, measured
from .observations import Finding, Verdict, observe, verdict
from .plan import Scene
from .runs import Run

SAVING_TOLERANCE = 0.05  # a saving of 25% to 35% counts as the documented 30%
MIN_TIME_RATIO = 1.05  # on a shared machine a smaller ratio cannot be distinguished from noise
ROUNDS = 20  # interleaved rounds of a timing


def waste(evidence: Evidence) -> Finding:
    modes = GradMode.set_grad_enabled, GradMode.enable_grad_detached, GradMode.enable_grad
    off, cut, on = (evidence.run(mode, evidence.modes[0].precision, mode is not GradMode.enable_grad) for mode in modes)
    growth = (on.held_bytes[-1] - on.held_bytes[0]) / max(1, len(on.held_bytes) - 1)
    flat = off.held_bytes[-1] <= 1.001 * off.held_bytes[min(1, len(off.held_bytes) - 1)]
    slower = (cut.p50_ms or 0) / (off.p50_ms or 1)
    return verdict(growth > 0 and flat, slower > MIN_TIME_RATIO), (
        f"{off.scene}, {off.precision.name}: with gradients on memory grows by {growth / 1e6:.0f} MB a frame "
        f"({on.frames_done} frames done, {on.status}), with gradients off it is {'flat' if flat else 'not flat'} "
        f"({off.held_bytes[-1] / 1e6:.0f} MB); time per frame with the graph cut each frame: {slower:.2f}x"
    )


def same_effect(evidence: Evidence) -> Finding:
    modes = GradMode.set_grad_enabled, GradMode.no_grad
    a, b = (evidence.run(mode, evidence.modes[0].precision) for mode in modes)
    equal = a.peak_tensor_bytes == b.peak_tensor_bytes, a.masks_sha256 == b.masks_sha256
    return verdict(*equal), f"peak in tensors {_peaks_and_masks(a, b)}"


def same_peak(evidence: Evidence) -> Finding:
    modes = GradMode.no_grad, GradMode.inference_mode
    precisions = dict.fromkeys(run.precision for run in evidence.modes)
    pairs = [[evidence.run(mode, precision) for mode in modes] for precision in precisions]
    text = "; ".join(f"{a.precision.name}: {_peaks_and_masks(a, b)}" for a, b in pairs)
    equal = [a.peak_tensor_bytes == b.peak_tensor_bytes for a, b in pairs]
    return verdict(*equal), f"segmenting {evidence.modes[0].scene}, {text}"


def _peaks_and_masks(a: Run, b: Run) -> str:
    masks = "equal to the bit" if a.masks_sha256 == b.masks_sha256 else "unlike"
    return f"{megabytes(a.peak_tensor_bytes)} and {megabytes(b.peak_tensor_bytes)} MB, masks {masks}"


def thirty_percent(evidence: Evidence) -> Finding:
    savings = evidence.savings
    if not savings:
        raise NotMeasured("no pair of runs finished")
    whole, bare = sorted(s.with_network for s in savings), sorted(s.without_network for s in savings)
    result = verdict(*(abs(share - DOCUMENTED_SAVING) <= SAVING_TOLERANCE for share in whole))
    if result is Verdict.does_not_hold and whole[0] < DOCUMENTED_SAVING < whole[-1]:
        result = Verdict.holds_in_part
    return result, (
        f"within a frame {whole[0]:.0%} to {whole[-1]:.0%} of the tensors' peak, network included "
        f"({bare[0]:.0%} to {bare[-1]:.0%} without it), at {len(savings)} combinations of size, "
        "objects and precision; over a clip more with every frame"
    )


def room_for_more(evidence: Evidence) -> Finding:
    pairs = [
        (larger, smaller)
        for larger, smaller in product(evidence.savings, repeat=2)
        if larger.precision is smaller.precision and _smaller(smaller.scene, larger.scene)
    ]
    if not pairs:
        raise NotMeasured("only one scene was measured: give several ablate.sizes or ablate.objects")
    fits = [larger.off_bytes <= smaller.baseline_bytes for larger, smaller in pairs]
    off, on = max(pairs, key=lambda pair: pair[1].baseline_bytes / pair[0].off_bytes)
    return verdict(*fits), (
        f"in {sum(fits)} of {len(fits)} comparisons a larger scene without gradients fits where a smaller one with "
        f"them does; furthest: {off.scene} ({off.precision.name}) takes {megabytes(off.off_bytes)} MB without, "
        f"{on.scene} {megabytes(on.baseline_bytes)} MB with"
    )


def _smaller(scene: Scene, than: Scene) -> bool:
    # -1 is the clip's own size, which cannot be compared with a number of px.
    comparable = scene.frames == than.frames and (scene.size == than.size or -1 not in (scene.size, than.size))
    return comparable and scene != than and scene.size <= than.size and scene.objects <= than.objects


def output_alone(evidence: Evidence) -> Finding:
    held, peaks, output = _linear(evidence)
    on, off, inference = (f"{size / 2**20:.2f}" for size in held)
    return verdict(*(size == output for size in held[1:])), (
        f"held after the forward: {on} MiB with gradients, {off} under no_grad, {inference} in inference_mode; the "
        f"output is {output:,} bytes = {output / 2**20:.2f} MiB (the document's MB are MiB); peak during the forward "
        f"{', '.join(f'{size / 2**20:.2f}' for size in peaks)} MiB"
    )


def high_and_low(evidence: Evidence) -> Finding:
    held, peaks, _ = _linear(evidence)
    return verdict(held[0] > held[1], peaks[0] > peaks[1]), (
        f"two Linear layers: held {held[0] / 2**20:.2f} against {held[1] / 2**20:.2f} MiB, peak "
        f"{peaks[0] / 2**20:.2f} against {peaks[1] / 2**20:.2f} MiB"
    )


def _linear(evidence: Evidence) -> tuple[list[int], list[int], int]:
    """Return the bytes held and the peaks in LINEAR_MODES, and the bytes of the output."""
    events = [measured(evidence.linear[mode]) for mode in LINEAR_MODES]
    return [one["held_bytes"] for one in events], [one["peak_bytes"] for one in events], events[0]["output_bytes"]


def faster_creation(evidence: Evidence) -> Finding:
    linear, xmem = (
        [measured(evidence.created[subject, creation]) for creation in (Creation.default, Creation.disable_torch_init)]
        for subject in (Subject.linear, Subject.xmem)
    )
    gains = [default["seconds"] / disabled["seconds"] for default, disabled in (linear, xmem)]
    # XMem is judged by the share of parameters concerned: a single creation takes milliseconds, too few to compare.
    return verdict(gains[0] > 1.2, xmem[0]["skipped_share"] > 0.5), (
        f"made and filled: 12 x Linear(2048, 2048) {_ms(linear[0])} ms, with disable_torch_init {_ms(linear[1])} ms "
        f"({gains[0]:.1f}x); XMem {_ms(xmem[0])} and {_ms(xmem[1])} ms ({gains[1]:.1f}x). It concerns "
        f"{linear[0]['skipped_share']:.0%} of the parameters of the first and {xmem[0]['skipped_share']:.1%} of XMem's"
    )


def creation_apart(evidence: Evidence) -> Finding:
    outcomes = [evidence.created[subject, Creation.disable_torch_init] for subject in Subject]
    required = all(measured(outcome)["requires_grad"] for outcome in outcomes)
    return verdict(required), f"all parameters of models made with it require gradients: {required}"


def meta_device(evidence: Evidence) -> Finding:
    (default, meta), linear = (
        [measured(evidence.created[subject, creation]) for creation in (Creation.default, Creation.meta)]
        for subject in (Subject.xmem, Subject.linear)
    )
    return verdict(meta["seconds"] < default["seconds"], meta["peak_bytes"] < default["peak_bytes"]), (
        f"XMem with the tensors of a checkpoint at hand: {_ms(default)} ms and {megabytes(default['peak_bytes'])} MB "
        f"of new tensors by default, {_ms(meta)} ms and {megabytes(meta['peak_bytes'])} MB on the meta device; Linear "
        f"layers {_ms(linear[0])} against {_ms(linear[1])} ms"
    )


def _ms(event: Event) -> str:
    return f"{1000 * event['seconds']:.0f}"


def small_linear(evidence: Evidence) -> Finding:
    layer, x = nn.Linear(10, 5), torch.ones(1000, 10)
    on, off = seconds_per_mode((torch.enable_grad, torch.no_grad), lambda: layer(x), 1000)
    ratio = on / off
    return Verdict.holds if ratio >= 1.8 else verdict(ratio > MIN_TIME_RATIO, False), (
        f"1000 forwards: {on * 1000:.4f} s with gradients, {off * 1000:.4f} s without: {ratio:.2f}x. "
        f"As written the example {observe('by default', 'Linear(10, 5) on 1000 features')}; in_features=10 was used"
    )


def inference_mode_faster(evidence: Evidence) -> Finding:
    large = nn.Sequential(nn.Linear(500, 5000), nn.ReLU(), nn.Linear(5000, 500))
    rows, few = torch.ones(100, 500), torch.ones(10)

    def many_small() -> Tensor:
        y = few
        for _ in range(200):
            y = y[:10] + 1
        return y

    ratios = []
    for work in (lambda: large(rows), many_small):
        no_grad, inference = seconds_per_mode((torch.no_grad, torch.inference_mode), work, 100)
        ratios.append(no_grad / inference)
    return verdict(*(ratio > MIN_TIME_RATIO for ratio in ratios)), (
        f"100 forwards each, no_grad over inference_mode: {ratios[0]:.2f}x for Linear(500, 5000)-ReLU-Linear(5000, "
        f"500), {ratios[1]:.2f}x for chains of 200 slices and additions of 10 numbers"
    )


def seconds_per_mode(
    modes: Sequence[Callable[[], AbstractContextManager[object]]], work: Callable[[], object], times: int
) -> list[float]:
    """Return the median seconds per call in each mode, from `times` calls spread over interleaved rounds."""
    per_round = max(1, times // ROUNDS)
    spent: list[list[float]] = [[] for _ in modes]
    for mode in modes:
        with mode():
            work()
    for turn in range(ROUNDS):
        for number in range(len(modes))[:: 1 if turn % 2 == 0 else -1]:
            with modes[number]():
                spent[number].append(timeit(work, number=per_round) / per_round)
    return [median(values) for values in spent]
