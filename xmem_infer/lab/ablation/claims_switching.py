"""Claims about switching: nesting, conditions, decorators, threads, restoring, optimisers."""

import threading
from collections.abc import Iterator

import torch
from torch import nn

from .claims import Claim, Verdict, refused, verdict
from .claims_case import Found, case, weight


def switching_claims() -> Iterator[Claim]:
    """Every claim of this kind."""
    yield whole_program()
    yield switched_on_again()
    yield nested_enable_grad()
    yield by_condition()
    yield telling()
    yield optimiser_step()
    yield decorator()
    yield thread_local()
    yield restored()


@case(
    1,
    "set_grad_enabled(False) switches gradients off for the whole program, no_grad for a region",
    "The call stays in force until it is undone, but only in the thread that made it. A program with threads of its "
    "own has to make it in each of them; this package makes it in the one that computes, and undoes it.",
)
def whole_program() -> Found:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    here, elsewhere = torch.is_grad_enabled(), _seen_in_thread()
    torch.set_grad_enabled(before)
    return verdict(not here, not elsewhere), (
        f"after the call: gradients {_on(here)} in the calling thread, {_on(elsewhere)} in a new thread"
    )


@case(
    3,
    "Gradients can be switched on again inside no_grad, not inside inference_mode",
    "Inference mode takes autograd out of the path of each operation, which enable_grad does not put back although "
    "is_grad_enabled() then says True. The way out is inference_mode(False), which the document does not mention.",
)
def switched_on_again() -> Found:
    w = weight()
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


@case(
    4,
    "enable_grad nested inside no_grad turns tracking on again",
    "The innermost block decides, and each restores what it found. So a function that needs gradients can ask for them "
    "wherever it is called, except in inference mode.",
)
def nested_enable_grad() -> Found:
    w = weight()
    with torch.no_grad():
        with torch.enable_grad():
            (w * 2).sum().backward()
        off_again = not torch.is_grad_enabled()
    done = w.grad is not None
    return verdict(done, off_again), (
        f"backward through the nested block: {'works' if done else 'fails'}; after it gradients are "
        f"{_on(not off_again)}"
    )


@case(
    4,
    "set_grad_enabled(bool) switches by a condition",
    "It takes the condition as its argument, so training and validation share one block. Used as a context it restores "
    "the mode; as a plain call it stays.",
)
def by_condition() -> Found:
    seen = {}
    for training in (True, False):
        with torch.set_grad_enabled(training):
            seen[training] = (weight() * 2).requires_grad
    return verdict(seen[True], not seen[False]), (
        f"set_grad_enabled(True): recorded={seen[True]}; (False): recorded={seen[False]}"
    )


@case(
    4,
    "is_grad_enabled() tells the mode",
    "It tells whether operations are recorded in this thread. It does not tell no_grad from inference_mode; "
    "is_inference_mode_enabled() does.",
)
def telling() -> Found:
    usual = torch.is_grad_enabled()
    with torch.no_grad():
        under_no_grad = torch.is_grad_enabled()
    with torch.inference_mode():
        under_inference = torch.is_grad_enabled()
    return verdict(usual, not under_no_grad, not under_inference), (
        f"default {usual}, no_grad {under_no_grad}, inference_mode {under_inference}"
    )


@case(
    4,
    "Optimiser steps need gradients on",
    "What needs gradients on is the forward pass that backward() goes through. The step itself only reads .grad, and "
    "torch runs it under no_grad of its own accord.",
)
def optimiser_step() -> Found:
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


@case(
    5,
    "no_grad works as a decorator",
    "Each call of the function runs inside a block of its own. For a generator torch enters the block around each "
    "resumption, so that the mode does not leak to the caller between two results.",
)
def decorator() -> Found:
    @torch.no_grad()
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    recorded, afterwards = double(weight()).requires_grad, torch.is_grad_enabled()
    return verdict(not recorded, afterwards), (
        f"result of the decorated function: requires_grad={recorded}; gradients afterwards {_on(afterwards)}"
    )


@case(
    5,
    "no_grad is thread-local",
    "The mode belongs to the thread, and a new one starts with gradients on. Work handed to a pool is recorded unless "
    "the pool's function switches gradients off itself.",
)
def thread_local() -> Found:
    with torch.no_grad():
        elsewhere = _seen_in_thread()
    return verdict(elsewhere), f"in a thread started inside the block gradients are {_on(elsewhere)}"


@case(
    5,
    "no_grad restores the previous mode on exit",
    "Context managers run their exit also when the block fails. The plain call set_grad_enabled(False) has no exit; "
    "this package wraps it so that it has.",
)
def restored() -> Found:
    after = []
    for before in (True, False):
        with torch.set_grad_enabled(before):
            try:
                with torch.no_grad():
                    raise KeyError
            except KeyError:
                after.append(torch.is_grad_enabled() is before)
    return verdict(*after), f"after an error inside the block: mode restored to on: {after[0]}, to off: {after[1]}"


def _seen_in_thread() -> bool:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
    thread.start()
    thread.join()
    return seen[0]


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"
