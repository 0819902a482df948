"""Claims about this network's memory and time, from runs in child processes at the published size."""

from collections.abc import Iterator, Sequence

from ...config import GradMode
from .claims import Claim, Verdict, verdict
from .plan import GRADIENTS_OFF, Scene
from .summary import DOCUMENTED_SAVING, Line, Saving
from .sweep import Row, percentile

NEAR = 0.05  # a saving of 25% to 35% counts as the documented 30%


def network_claims(modes: Sequence[Row], lines: Sequence[Line], savings: Sequence[Saving]) -> Iterator[Claim]:
    """modes: one timed run per grad mode and precision on one scene; lines, savings: the scenes of the sweep."""
    first = modes[0].cell.precision
    by_mode = {row.cell.grad_mode: row for row in modes if row.cell.precision is first}
    yield waste(by_mode)
    yield same_effect(by_mode)
    yield thirty_percent([saving for saving in savings if saving.baseline is GradMode.enable_grad_detached])
    yield room_for_more(lines)
    yield same_peak(modes)


def waste(rows: dict[GradMode, Row]) -> Claim:
    off, cut, on = (
        rows.get(mode) for mode in (GradMode.set_grad_enabled, GradMode.enable_grad_detached, GradMode.enable_grad)
    )
    claim = "Inference keeps no activations for a backward pass, so tracking gradients wastes memory and time"
    if off is None or cut is None or on is None or not (off.held_bytes and on.held_bytes and cut.peak_tensor_bytes):
        return _missing(1, claim, rows)
    growth = (on.held_bytes[-1] - on.held_bytes[0]) / max(1, len(on.held_bytes) - 1)
    flat = off.held_bytes[-1] <= 1.001 * off.held_bytes[1]
    times = [percentile(row.times_ms, 50) for row in (off, cut)]
    slower = times[1] / times[0] if times[0] and times[1] else None
    return Claim(
        1, claim, verdict(growth > 0 and flat, slower is not None and slower > 1.05),
        f"{off.cell.scene.words}, {off.cell.precision.name}: with gradients on memory grows by {growth / 1e6:.0f} MB a "
        f"frame ({on.frames_done} frames done, {on.status}), with gradients off it is {'flat' if flat else 'not flat'} "
        f"({off.held_bytes[-1] / 1e6:.0f} MB); time per frame with the graph cut each frame: "
        f"{'not measured' if slower is None else f'{slower:.2f}x'}",
        "Every activation that a backward pass would need stays, and sensory memory and stored values carry the graph "
        "from frame to frame, so that it is never released. Recording itself costs little time beside convolutions: "
        "memory is the reason.",
        {"growth_bytes_per_frame": growth, "time_ratio": slower},
    )  # fmt: skip


def same_effect(rows: dict[GradMode, Row]) -> Claim:
    first, second = rows.get(GradMode.set_grad_enabled), rows.get(GradMode.no_grad)
    claim = "no_grad() and set_grad_enabled(False) have the same effect, with another scope"
    if first is None or second is None or first.status != "ok" or second.status != "ok":
        return _missing(1, claim, rows)
    return Claim(
        1, claim,
        verdict(first.peak_tensor_bytes == second.peak_tensor_bytes, first.masks_sha256 == second.masks_sha256),
        f"peak in tensors {_mb(first.peak_tensor_bytes)} and {_mb(second.peak_tensor_bytes)} MB, masks "
        f"{'equal to the bit' if first.masks_sha256 == second.masks_sha256 else 'unlike'}",
        "Both set the same flag of the thread. One is undone at the end of a block, the other when somebody undoes it.",
    )  # fmt: skip


def thirty_percent(savings: Sequence[Saving]) -> Claim:
    claim = "Switching gradients off saves about 30% of memory"
    if not savings:
        return Claim(1, claim, Verdict.not_measured, "no pair of runs finished", "See the reasons in results.json. "
                     "More memory (ablate.max_memory_gb) or smaller scenes help.")  # fmt: skip
    near = [abs(saving.whole - DOCUMENTED_SAVING) <= NEAR for saving in savings]
    lowest, highest = min(s.whole for s in savings), max(s.whole for s in savings)
    bare = [saving.working for saving in savings]
    found = verdict(*near)
    if found is Verdict.does_not_hold and lowest < DOCUMENTED_SAVING < highest:
        found = Verdict.holds_in_part
    return Claim(
        1, claim, found,
        f"within a frame {100 * lowest:.0f}% to {100 * highest:.0f}% of the tensors' peak, network included "
        f"({100 * min(bare):.0f}% to {100 * max(bare):.0f}% without it), at {len(savings)} combinations of size, "
        "objects and precision; over a clip more with every frame",
        "There is no one figure: the network's weights stay in any mode, while activations grow with pixels, objects "
        "and bytes per number. So the share saved depends on the scene, and without cutting the graph on the length of "
        "the clip.",
        {"lowest": lowest, "highest": highest},
    )  # fmt: skip


def room_for_more(lines: Sequence[Line]) -> Claim:
    claim = "The memory freed allows larger batches or resolutions"
    pairs = []
    for line in lines:
        smaller = [
            other for other in lines
            if other.cell.grad_mode is GradMode.enable_grad_detached and _smaller(other.cell.scene, line.cell.scene)
            and other.cell.precision is line.cell.precision
        ]  # fmt: skip
        if line.cell.grad_mode in GRADIENTS_OFF and line.peak_tensor_bytes:
            pairs += [(line, other) for other in smaller if other.peak_tensor_bytes]
    if not pairs:
        return Claim(1, claim, Verdict.not_measured, "only one scene was measured", "Give several ablate.sizes or "
                     "ablate.objects. Then a larger scene is compared with a smaller one.")  # fmt: skip
    fits = [(line.peak_tensor_bytes or 0) <= (other.peak_tensor_bytes or 0) for line, other in pairs]
    shown, than = max(pairs, key=lambda pair: (pair[1].peak_tensor_bytes or 0) / (pair[0].peak_tensor_bytes or 1))
    return Claim(
        1, claim, verdict(*fits),
        f"in {sum(fits)} of {len(fits)} comparisons a larger scene without gradients fits where a smaller one with "
        f"them does; furthest: {shown.cell.scene.words} ({shown.cell.precision.name}) takes "
        f"{_mb(shown.peak_tensor_bytes)} MB without, {than.cell.scene.words} {_mb(than.peak_tensor_bytes)} MB with",
        "Activations kept for a backward pass are of the size of the scene, so what is not kept can be spent on more "
        "pixels or objects. Whether it is enough for the next size depends on how far that is.",
    )  # fmt: skip


def same_peak(rows: Sequence[Row]) -> Claim:
    claim = "no_grad and inference_mode need the same memory"
    cells = {(row.cell.precision, row.cell.grad_mode): row for row in rows if row.status == "ok"}
    pairs = [
        (first, cells[precision, GradMode.inference_mode])
        for (precision, mode), first in cells.items()
        if mode is GradMode.no_grad and (precision, GradMode.inference_mode) in cells
    ]
    if not pairs:
        return _missing(3, claim, {row.cell.grad_mode: row for row in rows})
    said = [
        f"{a.cell.precision.name}: {_mb(a.peak_tensor_bytes)} and {_mb(b.peak_tensor_bytes)} MB, masks "
        f"{'equal to the bit' if a.masks_sha256 == b.masks_sha256 else 'unlike'}"
        for a, b in pairs
    ]
    return Claim(
        3, claim, verdict(*(a.peak_tensor_bytes == b.peak_tensor_bytes for a, b in pairs)),
        f"segmenting {pairs[0][0].cell.scene.words}, {'; '.join(said)}",
        "Neither keeps activations, and version counters are a few bytes: without autocast the peaks are equal. "
        "Inside autocast they need not be, because it keeps the weights it has cast until the region ends, except in "
        "inference mode; with cache_enabled=False the difference goes away.",
    )  # fmt: skip


def _smaller(scene: Scene, than: Scene) -> bool:
    if scene.frames != than.frames or scene == than:
        return False
    if scene.size != than.size and -1 in (scene.size, than.size):
        return False  # -1 is the clip's own size, whatever that is
    return scene.size <= than.size and scene.objects <= than.objects


def _missing(document: int, claim: str, rows: dict[GradMode, Row]) -> Claim:
    reasons = {f"{mode.name}: {row.reason}" for mode, row in rows.items() if row.reason}
    return Claim(
        document, claim, Verdict.not_measured, "; ".join(sorted(reasons)) or "a grad mode was left out",
        "The runs this needs did not finish. More memory (ablate.max_memory_gb) or a smaller scene helps.",
    )  # fmt: skip


def _mb(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}"
