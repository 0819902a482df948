"""Claims about switching: nesting, conditions, decorators, threads, restoring, optimisers."""

import threading
from collections.abc import Iterator

import torch
from torch import nn

from .claims import Claim, Verdict, refused, verdict


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


def _seen_in_thread() -> bool:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
    thread.start()
    thread.join()
    return seen[0]


def whole_program() -> Claim:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    here, elsewhere = torch.is_grad_enabled(), _seen_in_thread()
    torch.set_grad_enabled(before)
    return Claim(
        1, "set_grad_enabled(False) switches gradients off for the whole program, no_grad for a region",
        verdict(not here, not elsewhere),
        f"after the call: gradients {_on(here)} in the calling thread, {_on(elsewhere)} in a new thread",
        "The call stays in force until it is undone, but only in the thread that made it. A program with threads of "
        "its own has to make it in each of them; this package makes it in the one that computes, and undoes it.",
    )  # fmt: skip


def switched_on_again() -> Claim:
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad(), torch.enable_grad():
        again = (weight * 2).requires_grad
    with torch.inference_mode(), torch.enable_grad():
        says, records = torch.is_grad_enabled(), (weight * 2).requires_grad
    with torch.inference_mode(), torch.inference_mode(False):
        left = (weight * 2).requires_grad
    return Claim(
        3, "Gradients can be switched on again inside no_grad, not inside inference_mode", verdict(again, not records),
        f"enable_grad inside no_grad records: {again}; inside inference_mode: {records} (while is_grad_enabled() says "
        f"{says}); inference_mode(False) inside it: {left}",
        "Inference mode takes autograd out of the path of each operation, which enable_grad does not put back although "
        "is_grad_enabled() then says True. The way out is inference_mode(False), which the document does not mention.",
    )  # fmt: skip


def nested_enable_grad() -> Claim:
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        with torch.enable_grad():
            (weight * 2).sum().backward()
        off_again = not torch.is_grad_enabled()
    done = weight.grad is not None
    return Claim(
        4, "enable_grad nested inside no_grad turns tracking on again", verdict(done, off_again),
        f"backward through the nested block: {'works' if done else 'fails'}; after it gradients are "
        f"{_on(not off_again)}",
        "The innermost block decides, and each restores what it found. So a function that needs gradients can ask for "
        "them wherever it is called, except in inference mode.",
    )  # fmt: skip


def by_condition() -> Claim:
    weight = torch.ones(3, requires_grad=True)
    seen = {}
    for training in (True, False):
        with torch.set_grad_enabled(training):
            seen[training] = (weight * 2).requires_grad
    return Claim(
        4, "set_grad_enabled(bool) switches by a condition", verdict(seen[True], not seen[False]),
        f"set_grad_enabled(True): recorded={seen[True]}; (False): recorded={seen[False]}",
        "It takes the condition as its argument, so training and validation share one block. Used as a context it "
        "restores the mode; as a plain call it stays.",
    )  # fmt: skip


def telling() -> Claim:
    with torch.no_grad():
        under_no_grad = torch.is_grad_enabled()
    with torch.inference_mode():
        under_inference = torch.is_grad_enabled()
    return Claim(
        4, "is_grad_enabled() tells the mode", verdict(torch.is_grad_enabled(), not under_no_grad, not under_inference),
        f"default {torch.is_grad_enabled()}, no_grad {under_no_grad}, inference_mode {under_inference}",
        "It tells whether operations are recorded in this thread. It does not tell no_grad from inference_mode; "
        "is_inference_mode_enabled() does.",
    )  # fmt: skip


def optimiser_step() -> Claim:
    layer = nn.Linear(3, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    with torch.no_grad():
        message = refused(lambda: layer(torch.ones(1, 3)).sum().backward())
    layer(torch.ones(1, 3)).sum().backward()
    before = layer.weight.detach().clone()
    with torch.no_grad():
        optimiser.step()
    moved = not torch.equal(before, layer.weight)
    return Claim(
        4, "Optimiser steps need gradients on", Verdict.holds_in_part if moved and message else verdict(not moved),
        f"forward and backward under no_grad: {message!r}; step() alone under no_grad changes the weights: {moved}",
        "What needs gradients on is the forward pass that backward() goes through. The step itself only reads .grad, "
        "and torch runs it under no_grad of its own accord.",
    )  # fmt: skip


def decorator() -> Claim:
    @torch.no_grad()
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    y = double(torch.ones(3, requires_grad=True))
    return Claim(
        5, "no_grad works as a decorator", verdict(not y.requires_grad, torch.is_grad_enabled()),
        f"result of the decorated function: requires_grad={y.requires_grad}; gradients afterwards {_on(True)}",
        "Each call of the function runs inside a block of its own. For a generator torch enters the block around each "
        "resumption, so that the mode does not leak to the caller between two results.",
    )  # fmt: skip


def thread_local() -> Claim:
    with torch.no_grad():
        elsewhere = _seen_in_thread()
    return Claim(
        5, "no_grad is thread-local", verdict(elsewhere),
        f"in a thread started inside the block gradients are {_on(elsewhere)}",
        "The mode belongs to the thread, and a new one starts with gradients on. Work handed to a pool is recorded "
        "unless the pool's function switches gradients off itself.",
    )  # fmt: skip


def restored() -> Claim:
    after = []
    for before in (True, False):
        with torch.set_grad_enabled(before):
            try:
                with torch.no_grad():
                    raise KeyError
            except KeyError:
                after.append(torch.is_grad_enabled() is before)
    return Claim(
        5, "no_grad restores the previous mode on exit", verdict(*after),
        f"after an error inside the block: mode restored to on: {after[0]}, to off: {after[1]}",
        "Context managers run their exit also when the block fails. The plain call set_grad_enabled(False) has no "
        "exit; this package wraps it so that it has.",
    )  # fmt: skip


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"
