"""Observations of torch's behaviour in its gradient modes, compared with the expectations in claims.yaml."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class Verdict(Enum):
    holds = "holds"
    holds_in_part = "holds in part"
    does_not_hold = "does not hold"
    not_measured = "not measured"


Finding = tuple[Verdict, str]  # the verdict and a text that says what was measured
autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
MODES: dict[str, tuple[Callable[[], AbstractContextManager[Any]], ...]] = {
    "by default": (),
    "under no_grad": (torch.no_grad,),
    "in inference_mode": (torch.inference_mode,),
    "in enable_grad inside no_grad": (torch.no_grad, torch.enable_grad),
    "in enable_grad inside inference_mode": (torch.inference_mode, torch.enable_grad),
    "in inference_mode(False) inside inference_mode": (torch.inference_mode, partial(torch.inference_mode, False)),
    "in set_grad_enabled(True)": (partial(torch.set_grad_enabled, True),),
    "in set_grad_enabled(False)": (partial(torch.set_grad_enabled, False),),
    "under no_grad and autocast": (torch.no_grad, autocast),
}


def weight() -> Tensor:
    return torch.ones(3, requires_grad=True)


def double(w: Tensor) -> Tensor:
    return w * 2  # an example of an operation that autograd may record


def gradient_after_block() -> list[float]:
    w = weight()
    with torch.no_grad():
        double(w)
    double(w).sum().backward()
    assert w.grad is not None
    return w.grad.tolist()


def restored_after_error() -> bool:
    before = torch.is_grad_enabled()
    with suppress(KeyError), torch.no_grad():
        raise KeyError
    return torch.is_grad_enabled() is before


def order_of_autocast_matters() -> bool:
    layer, x = nn.Linear(64, 64), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), autocast():
        outside = layer(x)
    with autocast(), torch.no_grad():
        return not torch.equal(outside, layer(x))


def train_around_block() -> None:
    layer, x = nn.Linear(8, 8), torch.ones(2, 8)
    with autocast():
        with torch.no_grad():
            layer(x)
        layer(x).sum().backward()


def step_moves_weights() -> bool:
    layer = nn.Linear(3, 1)
    with torch.enable_grad():
        layer(torch.ones(1, 3)).sum().backward()
    before = layer.weight.detach().clone()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    return not torch.equal(before, layer.weight)


def train_with_no_grad_tensor() -> None:
    with torch.no_grad():
        made = double(weight())
    (weight() * made).sum().backward()


# By name, functions that each test one behaviour. One that returns None without raising counts as "works".
OBSERVATIONS: Mapping[str, Callable[[], Any]] = {
    "gradients are on": torch.is_grad_enabled,
    "gradients are on in a thread started here": lambda: ThreadPoolExecutor().submit(torch.is_grad_enabled).result(),
    "operations are recorded": lambda: double(weight()).requires_grad,
    "results have a grad_fn": lambda: double(weight()).grad_fn is not None,
    "a tensor created with requires_grad=True keeps it": lambda: weight().requires_grad,
    "backward()": lambda: double(weight()).sum().backward(),
    "version counter after an in-place operation": lambda: torch.ones(3).add_(1)._version,
    "gradient after a no_grad block": gradient_after_block,
    "the mode is restored after an error in a no_grad block": restored_after_error,
    "a Linear computes in": lambda: str(nn.Linear(8, 8)(torch.ones(2, 8)).dtype).removeprefix("torch."),
    "a function decorated with no_grad is recorded": lambda: torch.no_grad()(double)(weight()).requires_grad,
    "the order of no_grad and autocast gives other numbers": order_of_autocast_matters,
    "training around a no_grad block inside autocast": train_around_block,
    "an optimiser's step() changes the weights": step_moves_weights,
    "training with an inference tensor": lambda: weight() * torch.inference_mode()(weight)(),
    "requires_grad_() of an inference tensor": lambda: torch.inference_mode()(torch.ones)(3).requires_grad_(),
    "training with a tensor made under no_grad": train_with_no_grad_tensor,
    "Linear(10, 5) on 1000 features": lambda: nn.Linear(10, 5)(torch.ones(1, 1000)),
}


def verdict(*parts: bool) -> Verdict:
    """All parts true: holds; some: holds in part; none: does not hold."""
    if all(parts):
        return Verdict.holds
    return Verdict.holds_in_part if any(parts) else Verdict.does_not_hold


def check_expectations(expected: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Observe everything that is expected, by mode and name. `raises` expects an error with any message."""
    fulfilled, text = [], []
    for mode, values in expected.items():
        for name, value in values.items():
            seen = observe(mode, name)
            fulfilled.append(seen == value or (value == "raises" and str(seen).startswith("raises: ")))
            text.append(f"{mode}, {name}: {seen}")
    return verdict(*fulfilled), "; ".join(text)


def observe(mode: str, name: str) -> Any:
    """Make an observation in a mode. An error is observed as `raises: ` and the first sentence of its message."""
    with ExitStack() as stack:
        for enter in MODES[mode]:
            stack.enter_context(enter())
        try:
            seen = OBSERVATIONS[name]()
        except RuntimeError as error:
            return "raises: " + str(error).partition("\n")[0].partition(". ")[0]
    return "works" if seen is None else seen
