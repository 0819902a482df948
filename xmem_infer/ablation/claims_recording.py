"""Claims about what is recorded: requires_grad, backward, training around it, version counters, inference tensors."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .claims import Claim, Verdict, refused, verdict


def recording_claims() -> Iterator[Claim]:
    """Every claim of this kind, each checked with a few tensors."""
    yield outputs_inside()
    yield backward_refused()
    yield training_outside()
    yield with_autocast()
    yield autocast_order()
    yield version_counters()
    yield graph_under_no_grad()
    yield inference_tensors_later()


def _weight() -> Tensor:
    return torch.ones(3, requires_grad=True)


def outputs_inside() -> Claim:
    with torch.no_grad():
        y = _weight() * 2
        made = torch.ones(3, requires_grad=True)
    return Claim(
        2, "Inside no_grad outputs have requires_grad=False", verdict(not y.requires_grad, y.grad_fn is None),
        f"requires_grad={y.requires_grad}, grad_fn={y.grad_fn}; a tensor created there with requires_grad=True "
        f"keeps it ({made.requires_grad})",
        "Operations record nothing inside, so their results need no gradient. Only results are affected: a tensor "
        "that is created with requires_grad=True, such as a new parameter, still has it.",
    )  # fmt: skip


def backward_refused() -> Claim:
    with torch.no_grad():
        y = (_weight() * 2).sum()
    message = refused(y.backward)
    return Claim(
        2, "An accidental backward() raises", verdict(bool(message)), f"RuntimeError: {message}",
        "Without a graph there is nothing to go back through, and autograd says so rather than give zeros. "
        "The error comes at the backward call, inside or outside of the block.",
    )  # fmt: skip


def training_outside() -> Claim:
    weight = _weight()
    with torch.no_grad():
        weight * 2
    (weight * 2).sum().backward()
    right = weight.grad is not None and weight.grad.tolist() == [2, 2, 2]
    return Claim(
        2, "Training outside of the block is unaffected", verdict(right, torch.is_grad_enabled()),
        f"gradient after a block: {None if weight.grad is None else weight.grad.tolist()}, expected [2, 2, 2]",
        "Leaving the block restores the mode that was there. This package relies on it between two frames: a "
        "training loop around its generator runs as if the generator were not there (tests/pipeline_room).",
    )  # fmt: skip


def with_autocast() -> Claim:
    layer = nn.Linear(8, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.ones(2, 8))
    return Claim(
        2, "no_grad combines with autocast", verdict(y.dtype == torch.bfloat16, y.grad_fn is None),
        f"result {str(y.dtype).removeprefix('torch.')}, grad_fn={y.grad_fn}",
        "One chooses the arithmetic, the other whether it is recorded; both apply to each operation. "
        "Neither knows of the other.",
    )  # fmt: skip


def autocast_order() -> Claim:
    layer, x = nn.Linear(64, 64), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outside = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        inside = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            layer(x)
        layer(x).sum().backward()
    equal, trained = torch.equal(outside, inside), layer.weight.grad is not None
    return Claim(
        1, "With autocast, gradients off is the outer context",
        Verdict.holds_in_part if equal and trained else Verdict.holds,
        f"results in both orders {'equal to the bit' if equal else 'differ'}; an inner no_grad block "
        f"{'leaves' if trained else 'loses'} the gradients of training in the same autocast region",
        "As practice it is sound, and this package does it: the grad mode spans the run, autocast the part of it "
        "that computes. As a requirement it is not: in this version of torch both orders give the same numbers.",
    )  # fmt: skip


def version_counters() -> Claim:
    with torch.no_grad():
        y = _weight() * 2
        before = y._version
        y.add_(1)
        advanced = y._version - before
    with torch.inference_mode():
        z = _weight() * 2
        z.add_(1)
        message = refused(lambda: z._version)
    return Claim(
        3, "The version counter still advances under no_grad, not in inference mode",
        verdict(advanced == 1, bool(message)),
        f"no_grad: +{advanced} after one in-place operation; inference_mode: {message!r}",
        "The counter is how autograd notices that a tensor it saved was written over, and under no_grad a tensor may "
        "still be one of those. A tensor made in inference mode can never be saved, so none is kept.",
    )  # fmt: skip


def graph_under_no_grad() -> Claim:
    with torch.no_grad():
        first = (_weight() * 2).grad_fn
    with torch.inference_mode():
        second = (_weight() * 2).grad_fn
    return Claim(
        3, '"no_grad still builds the graph but does not record"',
        Verdict.does_not_hold if first is None and second is None else Verdict.holds,
        f"grad_fn: {first} under no_grad, {second} in inference_mode",
        "The graph is made of grad_fn nodes, and neither mode makes any; recording is building it. What no_grad "
        "keeps up and inference_mode does not is bookkeeping of tensors: version counters and views.",
    )  # fmt: skip


def inference_tensors_later() -> Claim:
    weight = _weight()
    with torch.inference_mode():
        z = torch.ones(3) * 2
    used = refused(lambda: weight * z)
    required = refused(z.requires_grad_)
    with torch.no_grad():
        plain = torch.ones(3) * 2
    free = not refused(lambda: (weight * plain).sum().backward())
    return Claim(
        3, "eval() + no_grad while training, inference_mode in deployment", verdict(bool(used), bool(required), free),
        f"an inference tensor used in training: {used!r}; made to require gradients: {required!r}; a tensor made "
        f"under no_grad is {'taken' if free else 'refused'}",
        "Results of inference_mode cannot enter autograd later (a clone() made outside can), which deployment never "
        "asks for and validation inside a training loop may. Peak memory and masks are the same in both, so the "
        "choice is about what happens to the results.",
    )  # fmt: skip
