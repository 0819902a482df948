"""Claims that take a fresh process per alternative: the large Linear, and ways to make a network."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ...config import GradMode
from ...interrupts import check
from .claims import Claim, Verdict, verdict
from .config import DocumentsConfig
from .process import Event, Nursery
from .requests import CreateRequest, LinearRequest, Request

MIB = 2**20
LINEAR_MODES = (GradMode.enable_grad, GradMode.no_grad, GradMode.inference_mode)
WAYS = ("default", "disable_torch_init", "meta")
SUBJECTS = ("xmem", "linear")
Measured = dict[str, Event | str]  # by alternative: what the child told, or why it did not


def linear_requests(sizes: DocumentsConfig, threads: int | None, ceiling_bytes: int) -> dict[str, Request]:
    """One forward of the third document's network per mode."""
    return {
        mode.name: LinearRequest(sizes.features, sizes.hidden, sizes.rows, mode, threads, ceiling_bytes)
        for mode in LINEAR_MODES
    }


def create_requests(weights: Path, threads: int | None, ceiling_bytes: int) -> dict[str, Request]:
    """Each way of making each network."""
    return {
        f"{what} {way}": CreateRequest(what, way, weights, threads, ceiling_bytes) for what in SUBJECTS for way in WAYS
    }


def measure(requests: dict[str, Request], kind: str, nursery: Nursery, step: Callable[[], object]) -> Measured:
    """Every request in a fresh process; `kind` is the event that carries the figures."""
    found: Measured = {}
    for name, request in requests.items():
        check()
        outcome = nursery.run(request)
        found[name] = outcome.last(kind) or outcome.reason or "no answer"
        step()
    return found


def linear_claims(sizes: DocumentsConfig, measured: Measured) -> Iterator[Claim]:
    shape = f"Linear({sizes.features}, {sizes.hidden}) - ReLU - Linear({sizes.hidden}, {sizes.features})"
    claim = f"After {shape} on {sizes.rows} rows no_grad and inference_mode hold 19.07 MB, the output alone"
    high = "Memory is high with gradients and low without"
    events = [measured[mode.name] for mode in LINEAR_MODES]
    problems = [event for event in events if isinstance(event, str)]
    if problems:
        advice = "The network did not fit into memory. Give smaller documents.hidden, or more ablate.max_memory_gb."
        yield Claim(3, claim, Verdict.not_measured, problems[0], advice)
        yield Claim(2, high, Verdict.not_measured, problems[0], advice)
        return
    on, off, inference = (event for event in events if not isinstance(event, str))
    output = off["output_bytes"]
    yield Claim(
        3, claim, verdict(off["held_bytes"] == output, inference["held_bytes"] == output),
        f"held after the forward: {_mib(on)} MiB with gradients, {_mib(off)} under no_grad, {_mib(inference)} in "
        f"inference_mode; the output is {output:,} bytes = {output / MIB:.2f} MiB (the document's MB are MiB); peak "
        f"during the forward {_mib(on, 'peak_bytes')}, {_mib(off, 'peak_bytes')}, {_mib(inference, 'peak_bytes')} MiB",
        "With gradients on the graph keeps the hidden activations for the backward pass; without, nothing but the "
        "output is left. The peak while the forward runs is the same in all three, because the hidden activations "
        "have to exist for a moment in any mode.",
        {"with_gradients": on, "no_grad": off, "inference_mode": inference},
    )  # fmt: skip
    yield Claim(
        2, high, verdict(on["held_bytes"] > off["held_bytes"], on["peak_bytes"] > off["peak_bytes"]),
        f"two Linear layers: held {_mib(on)} against {_mib(off)} MiB, peak {_mib(on, 'peak_bytes')} against "
        f"{_mib(off, 'peak_bytes')} MiB",
        "What is held afterwards is far more with gradients. The peak of so short a network is not, since it lies in "
        "the middle of the forward; in a deep one, such as this package's, the kept activations add up and the peak "
        "rises too.",
    )  # fmt: skip


def creation_claims(measured: Measured) -> Iterator[Claim]:
    faster = "disable_torch_init makes creating a model faster"
    apart = "disable_torch_init has nothing to do with gradients"
    meta = "Building on the meta device and loading with assign=True serves the same aim"
    problems = [event for event in measured.values() if isinstance(event, str)]
    if problems:
        for claim in (faster, apart, meta):
            yield Claim(5, claim, Verdict.not_measured, problems[0], "A child process failed. Its message is given.")
        return
    made = {name: event for name, event in measured.items() if not isinstance(event, str)}
    ms = {name: 1000 * event["seconds"] for name, event in made.items()}
    gain = {what: ms[f"{what} default"] / ms[f"{what} disable_torch_init"] for what in SUBJECTS}
    share = {what: made[f"{what} default"]["skipped_share"] for what in SUBJECTS}
    # For XMem told by what it touches: a single creation of a few milliseconds is noise.
    yield Claim(
        5, faster, verdict(gain["linear"] > 1.2, share["xmem"] > 0.5),
        f"made and filled: 12 x Linear(2048, 2048) {ms['linear default']:.0f} ms, with disable_torch_init "
        f"{ms['linear disable_torch_init']:.0f} ms ({gain['linear']:.1f}x); XMem {ms['xmem default']:.0f} and "
        f"{ms['xmem disable_torch_init']:.0f} ms ({gain['xmem']:.1f}x). It "
        f"concerns {share['linear']:.0%} of the parameters of the first and {share['xmem']:.1%} of XMem's",
        "It skips drawing numbers that a checkpoint overwrites, for Linear and LayerNorm, of which language models "
        "consist. XMem is made of convolutions, whose initialisation it leaves alone: here it changes next to nothing.",
        {"milliseconds": ms},
    )  # fmt: skip
    kept = made["linear disable_torch_init"]["requires_grad"] and made["xmem disable_torch_init"]["requires_grad"]
    yield Claim(
        5, apart, verdict(bool(kept)), f"all parameters of models made with it require gradients: {bool(kept)}",
        "It changes which numbers a layer starts with, not what is recorded. Creation happens once, gradient modes "
        "act on every operation.",
    )  # fmt: skip
    default, built = made["xmem default"], made["xmem meta"]
    yield Claim(
        5, meta, verdict(ms["xmem meta"] < ms["xmem default"], built["peak_bytes"] < default["peak_bytes"]),
        f"XMem with the tensors of a checkpoint at hand: {ms['xmem default']:.0f} ms and "
        f"{default['peak_bytes'] / 1e6:.1f} MB of new tensors by default, {ms['xmem meta']:.0f} ms and "
        f"{built['peak_bytes'] / 1e6:.1f} MB on the meta device; Linear layers {ms['linear default']:.0f} against "
        f"{ms['linear meta']:.0f} ms",
        "On the meta device layers have shapes and no memory, and assign=True takes the checkpoint's tensors "
        "themselves rather than copy them. It works for every kind of layer and patches nothing, so this package "
        "loads that way.",
        {"peak_bytes": {name: event["peak_bytes"] for name, event in made.items()}},
    )  # fmt: skip


def _mib(event: Event, name: str = "held_bytes") -> str:
    return f"{event[name] / MIB:.2f}"
