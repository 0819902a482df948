"""Claims about time: alternatives measured in turn, medians compared. Ratios are of this machine and moment."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from .claims import Claim, Verdict, refused, verdict

Mode = Callable[[], AbstractContextManager[object]]
ROUNDS = 20  # in which the alternatives take turns
CLEARLY = 1.05  # a smaller ratio is not told from the noise of a shared machine


def timed_claims(forwards: int) -> Iterator[Claim]:
    """Every claim of this kind; forwards: of the small Linear, per mode."""
    yield small_linear(forwards)
    yield no_grad_against_inference_mode()


def small_linear(forwards: int) -> Claim:
    """Document 2's table: 1000 forwards of Linear(10, 5) on 1000 rows."""
    layer = nn.Linear(10, 5)
    as_written = refused(lambda: layer(torch.ones(1, 1000)))
    x = torch.ones(1000, 10)
    spent = in_turns({"on": torch.enable_grad, "off": torch.no_grad}, lambda: layer(x), forwards)
    ratio = spent["on"] / spent["off"]
    return Claim(
        2, "1000 forwards of a small Linear take half the time without gradients (3.52 s against 1.76 s)",
        Verdict.holds if ratio >= 1.8 else Verdict.holds_in_part if ratio > CLEARLY else Verdict.does_not_hold,
        f"{forwards} forwards: {spent['on'] * forwards:.4f} s with gradients, {spent['off'] * forwards:.4f} s without: "
        f"{ratio:.2f}x. As written the example does not run ({as_written}); in_features=10 was used",
        "What is saved is making one graph node per call, about a microsecond beside the multiplication. A single "
        "layer is the case that shows most of it; in a network of convolutions it is lost in the arithmetic.",
        {"ratio": ratio, "seconds_per_forward": spent},
    )  # fmt: skip


def no_grad_against_inference_mode() -> Claim:
    """Document 3's: 100 forwards each, in large layers and in many small operations."""
    modes: Mapping[str, Mode] = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    large = nn.Sequential(nn.Linear(500, 5000), nn.ReLU(), nn.Linear(5000, 500))
    rows, few = torch.ones(100, 500), torch.ones(10)

    def many_small() -> Tensor:
        y = few
        for _ in range(200):
            y = y[:10] + 1
        return y

    of_large = in_turns(modes, lambda: large(rows), 100)
    of_small = in_turns(modes, many_small, 100)
    large_ratio = of_large["no_grad"] / of_large["inference_mode"]
    small_ratio = of_small["no_grad"] / of_small["inference_mode"]
    return Claim(
        3, "inference_mode is faster than no_grad", verdict(large_ratio > CLEARLY, small_ratio > CLEARLY),
        f"100 forwards each, no_grad over inference_mode: {large_ratio:.2f}x for Linear(500, 5000)-ReLU-Linear(5000, "
        f"500), {small_ratio:.2f}x for chains of 200 slices and additions of 10 numbers",
        "Inference mode spares each operation the version counter and the tracking of views, a fraction of a "
        "microsecond. Large layers do not notice, long chains of small operations do.",
        {"large": large_ratio, "small": small_ratio},
    )  # fmt: skip


def in_turns(modes: Mapping[str, Mode], work: Callable[[], object], times: int) -> dict[str, float]:
    """Seconds per call in each mode: `times` calls spread over rounds in which the modes take turns; the median."""
    per_round = max(1, times // ROUNDS)
    spent: dict[str, list[float]] = {name: [] for name in modes}
    for mode in modes.values():
        with mode():
            work()
    for turn in range(ROUNDS):
        for name in modes if turn % 2 == 0 else reversed(list(modes)):
            with modes[name]():
                started = perf_counter()
                for _ in range(per_round):
                    work()
                spent[name].append((perf_counter() - started) / per_round)
    return {name: median(values) for name, values in spent.items()}
