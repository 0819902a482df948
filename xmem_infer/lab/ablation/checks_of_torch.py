"""Claims that a few operations on small tensors decide. Each check gives a verdict and what was seen."""

import threading

import torch
from torch import Tensor, nn

from .evidence import Evidence, Finding, Verdict, refused, verdict


def outputs_inside(evidence: Evidence) -> Finding:
    with torch.no_grad():
        y, made = _weight() * 2, _weight()
    return verdict(not y.requires_grad, y.grad_fn is None), (
        f"requires_grad={y.requires_grad}, grad_fn={y.grad_fn}; a tensor created there with requires_grad=True keeps "
        f"it ({made.requires_grad})"
    )


def backward_refused(evidence: Evidence) -> Finding:
    with torch.no_grad():
        y = (_weight() * 2).sum()
    message = refused(y.backward)
    return verdict(bool(message)), f"RuntimeError: {message}"


def training_outside(evidence: Evidence) -> Finding:
    w = _weight()
    with torch.no_grad():
        w * 2
    gradient = _gradient_of_double(w)
    found = verdict(gradient == [2, 2, 2], torch.is_grad_enabled())
    return found, f"gradient after a block: {gradient}, expected [2, 2, 2]"


def with_autocast(evidence: Evidence) -> Finding:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = nn.Linear(8, 8)(torch.ones(2, 8))
    dtype = str(y.dtype).removeprefix("torch.")
    return verdict(y.dtype == torch.bfloat16, y.grad_fn is None), f"result {dtype}, grad_fn={y.grad_fn}"


def autocast_order(evidence: Evidence) -> Finding:
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


def version_counters(evidence: Evidence) -> Finding:
    with torch.no_grad():
        y = _weight() * 2
        before = y._version
        y.add_(1)
        advanced = y._version - before
    with torch.inference_mode():
        z = _weight() * 2
        message = refused(lambda: z._version)
    return verdict(advanced == 1, bool(message)), (
        f"no_grad: +{advanced} after one in-place operation; inference_mode: {message!r}"
    )


def graph_under_no_grad(evidence: Evidence) -> Finding:
    with torch.no_grad():
        first = (_weight() * 2).grad_fn
    with torch.inference_mode():
        second = (_weight() * 2).grad_fn
    built = first is not None or second is not None
    seen = f"grad_fn: {first} under no_grad, {second} in inference_mode"
    return Verdict.holds if built else Verdict.does_not_hold, seen


def inference_tensors_later(evidence: Evidence) -> Finding:
    with torch.inference_mode():
        z = torch.ones(3) * 2
    used, required = refused(lambda: _weight() * z), refused(z.requires_grad_)
    with torch.no_grad():
        plain = torch.ones(3) * 2
    free = not refused(lambda: (_weight() * plain).sum().backward())
    return verdict(bool(used), bool(required), free), (
        f"an inference tensor used in training: {used!r}; made to require gradients: {required!r}; a tensor made under "
        f"no_grad is {'taken' if free else 'refused'}"
    )


def whole_program(evidence: Evidence) -> Finding:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    here, elsewhere = torch.is_grad_enabled(), _seen_in_thread()
    torch.set_grad_enabled(before)
    return verdict(not here, not elsewhere), (
        f"after the call: gradients {_on(here)} in the calling thread, {_on(elsewhere)} in a new thread"
    )


def switched_on_again(evidence: Evidence) -> Finding:
    w = _weight()
    with torch.no_grad(), torch.enable_grad():
        again = (w * 2).requires_grad
    with torch.inference_mode(), torch.enable_grad():
        says, records = torch.is_grad_enabled(), (w * 2).requires_grad
    with torch.inference_mode(), torch.inference_mode(False):
        left = (w * 2).requires_grad
    return verdict(again, not records), (
        f"enable_grad inside no_grad records: {again}; inside inference_mode: {records} (while is_grad_enabled() says "
        f"{says}); inference_mode(False) inside it: {left}"
    )


def nested_enable_grad(evidence: Evidence) -> Finding:
    w = _weight()
    with torch.no_grad():
        with torch.enable_grad():
            done = _gradient_of_double(w) is not None
        off_again = not torch.is_grad_enabled()
    return verdict(done, off_again), (
        f"backward through the nested block: {'works' if done else 'fails'}; after it gradients are "
        f"{_on(not off_again)}"
    )


def by_condition(evidence: Evidence) -> Finding:
    seen = {}
    for training in (True, False):
        with torch.set_grad_enabled(training):
            seen[training] = (_weight() * 2).requires_grad
    return verdict(seen[True], not seen[False]), (
        f"set_grad_enabled(True): recorded={seen[True]}; (False): recorded={seen[False]}"
    )


def mode_query(evidence: Evidence) -> Finding:
    usual = torch.is_grad_enabled()
    with torch.no_grad():
        off = torch.is_grad_enabled()
    with torch.inference_mode():
        inference = torch.is_grad_enabled()
    return verdict(usual, not off, not inference), f"default {usual}, no_grad {off}, inference_mode {inference}"


def optimiser_step(evidence: Evidence) -> Finding:
    layer = nn.Linear(3, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    with torch.no_grad():
        message = refused(lambda: layer(torch.ones(1, 3)).sum().backward())
    layer(torch.ones(1, 3)).sum().backward()
    before = layer.weight.detach().clone()
    with torch.no_grad():
        optimiser.step()
    moved = not torch.equal(before, layer.weight)
    return Verdict.holds_in_part if moved and message else verdict(not moved), (
        f"forward and backward under no_grad: {message!r}; step() alone under no_grad changes the weights: {moved}"
    )


def decorator(evidence: Evidence) -> Finding:
    @torch.no_grad()
    def double(x: Tensor) -> Tensor:
        return x * 2

    recorded, afterwards = double(_weight()).requires_grad, torch.is_grad_enabled()
    return verdict(not recorded, afterwards), (
        f"result of the decorated function: requires_grad={recorded}; gradients afterwards {_on(afterwards)}"
    )


def thread_local(evidence: Evidence) -> Finding:
    with torch.no_grad():
        elsewhere = _seen_in_thread()
    return verdict(elsewhere), f"in a thread started inside the block gradients are {_on(elsewhere)}"


def restored(evidence: Evidence) -> Finding:
    after = []
    for before in (True, False):
        with torch.set_grad_enabled(before):
            try:
                with torch.no_grad():
                    raise KeyError
            except KeyError:
                after.append(torch.is_grad_enabled() is before)
    return verdict(*after), f"after an error inside the block: mode restored to on: {after[0]}, to off: {after[1]}"


def _weight() -> Tensor:
    """A parameter of three ones."""
    return torch.ones(3, requires_grad=True)


def _gradient_of_double(w: Tensor) -> list[float] | None:
    (w * 2).sum().backward()
    return None if w.grad is None else w.grad.tolist()


def _seen_in_thread() -> bool:
    """Whether gradients are on in a new thread."""
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
    thread.start()
    thread.join()
    return seen[0]


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"
