"""Claims about what is recorded: requires_grad, backward, training around it, version counters, inference tensors."""

from collections.abc import Iterator

import torch
from torch import nn

from .claims import Claim, Verdict, refused, verdict
from .claims_case import Found, case, weight


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


@case(
    2,
    "Inside no_grad outputs have requires_grad=False",
    "Operations record nothing inside, so their results need no gradient. Only results are affected: a tensor that is "
    "created with requires_grad=True, such as a new parameter, still has it.",
)
def outputs_inside() -> Found:
    with torch.no_grad():
        y = weight() * 2
        made = weight()
    return verdict(not y.requires_grad, y.grad_fn is None), (
        f"requires_grad={y.requires_grad}, grad_fn={y.grad_fn}; a tensor created there with requires_grad=True keeps "
        f"it ({made.requires_grad})"
    )


@case(
    2,
    "An accidental backward() raises",
    "Without a graph there is nothing to go back through, and autograd says so rather than give zeros. The error comes "
    "at the backward call, inside or outside of the block.",
)
def backward_refused() -> Found:
    with torch.no_grad():
        y = (weight() * 2).sum()
    message = refused(y.backward)
    return verdict(bool(message)), f"RuntimeError: {message}"


@case(
    2,
    "Training outside of the block is unaffected",
    "Leaving the block restores the mode that was there. This package relies on it between two frames: a training loop "
    "around its generator runs as if the generator were not there (tests/pipeline_room).",
)
def training_outside() -> Found:
    w = weight()
    with torch.no_grad():
        w * 2
    (w * 2).sum().backward()
    gradient = None if w.grad is None else w.grad.tolist()
    return verdict(gradient == [2, 2, 2], torch.is_grad_enabled()), (
        f"gradient after a block: {gradient}, expected [2, 2, 2]"
    )


@case(
    2,
    "no_grad combines with autocast",
    "One chooses the arithmetic, the other whether it is recorded; both apply to each operation. Neither knows of the "
    "other.",
)
def with_autocast() -> Found:
    layer = nn.Linear(8, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.ones(2, 8))
    return verdict(y.dtype == torch.bfloat16, y.grad_fn is None), (
        f"result {str(y.dtype).removeprefix('torch.')}, grad_fn={y.grad_fn}"
    )


@case(
    1,
    "With autocast, gradients off is the outer context",
    "As practice it is sound, and this package does it: the grad mode spans the run, autocast the part of it that "
    "computes. As a requirement it is not: in this version of torch both orders give the same numbers.",
)
def autocast_order() -> Found:
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
    return Verdict.holds_in_part if equal and trained else Verdict.holds, (
        f"results in both orders {'equal to the bit' if equal else 'differ'}; an inner no_grad block "
        f"{'leaves' if trained else 'loses'} the gradients of training in the same autocast region"
    )


@case(
    3,
    "The version counter still advances under no_grad, not in inference mode",
    "The counter is how autograd notices that a tensor it saved was written over, and under no_grad a tensor may still "
    "be one of those. A tensor made in inference mode can never be saved, so none is kept.",
)
def version_counters() -> Found:
    with torch.no_grad():
        y = weight() * 2
        before = y._version
        y.add_(1)
        advanced = y._version - before
    with torch.inference_mode():
        z = weight() * 2
        z.add_(1)
        message = refused(lambda: z._version)
    return verdict(advanced == 1, bool(message)), (
        f"no_grad: +{advanced} after one in-place operation; inference_mode: {message!r}"
    )


@case(
    3,
    '"no_grad still builds the graph but does not record"',
    "The graph is made of grad_fn nodes, and neither mode makes any; recording is building it. What no_grad keeps up "
    "and inference_mode does not is bookkeeping of tensors: version counters and views.",
)
def graph_under_no_grad() -> Found:
    with torch.no_grad():
        first = (weight() * 2).grad_fn
    with torch.inference_mode():
        second = (weight() * 2).grad_fn
    return Verdict.does_not_hold if first is None and second is None else Verdict.holds, (
        f"grad_fn: {first} under no_grad, {second} in inference_mode"
    )


@case(
    3,
    "eval() + no_grad while training, inference_mode in deployment",
    "Results of inference_mode cannot enter autograd later (a clone() made outside can), which deployment never asks "
    "for and validation inside a training loop may. Peak memory and masks are the same in both, so the choice is about "
    "what happens to the results.",
)
def inference_tensors_later() -> Found:
    with torch.inference_mode():
        z = torch.ones(3) * 2
    used = refused(lambda: weight() * z)
    required = refused(z.requires_grad_)
    with torch.no_grad():
        plain = torch.ones(3) * 2
    free = not refused(lambda: (weight() * plain).sum().backward())
    return verdict(bool(used), bool(required), free), (
        f"an inference tensor used in training: {used!r}; made to require gradients: {required!r}; a tensor made under "
        f"no_grad is {'taken' if free else 'refused'}"
    )
