"""The documents' claims: their verdicts on this version of torch, and on figures made up or measured at small sizes."""

import pytest
import torch
from torch import nn

from xmem_infer.config import GradMode, Precision
from xmem_infer.lab.ablation.checks_of_figures import seconds_per_mode
from xmem_infer.lab.ablation.documents import decide, read_table
from xmem_infer.lab.ablation.evidence import (
    FEATURES,
    LINEAR_MODES,
    ROWS,
    Creation,
    Evidence,
    Subject,
    disabled_init,
    linear_forward,
)
from xmem_infer.lab.ablation.observations import Verdict, verdict
from xmem_infer.lab.ablation.plan import Scene
from xmem_infer.lab.ablation.runs import Run
from xmem_infer.lab.child import Outcome

TITLES, CASES = read_table().values()
EXPECTED = {
    "Inside no_grad outputs have requires_grad=False": Verdict.holds,
    "An accidental backward() raises": Verdict.holds,
    "Training outside of the block is unaffected": Verdict.holds,
    "no_grad combines with autocast": Verdict.holds,
    "The version counter still advances under no_grad, not in inference mode": Verdict.holds,
    '"no_grad still builds the graph but does not record"': Verdict.does_not_hold,
    "eval() + no_grad while training, inference_mode in deployment": Verdict.holds,
    "set_grad_enabled(False) switches gradients off for the whole program, no_grad for a region": Verdict.holds_in_part,
    "Gradients can be switched on again inside no_grad, not inside inference_mode": Verdict.holds,
    "enable_grad nested inside no_grad turns tracking on again": Verdict.holds,
    "set_grad_enabled(bool) switches by a condition": Verdict.holds,
    "is_grad_enabled() tells the mode": Verdict.holds,
    "Optimiser steps need gradients on": Verdict.holds_in_part,
    "no_grad works as a decorator": Verdict.holds,
    "no_grad is thread-local": Verdict.holds,
    "no_grad restores the previous mode on exit": Verdict.holds,
}


MB = 10**6


def run(mode, precision=Precision.fp32, peak=300 * MB, grows=0):
    held = [(250 + grows * frame) * MB for frame in range(8)]
    return Run(Scene(240, 1, 8), precision, mode, 0, "ok", "", 8, peak, times_ms=[10.0], held_bytes=held)


@pytest.fixture
def evidence():
    modes = [run(mode) for mode in GradMode if mode is not GradMode.enable_grad] + [run(GradMode.enable_grad, grows=9)]
    linear = {mode: Outcome("oom", reason="killed") for mode in LINEAR_MODES}
    created = {(subject, creation): Outcome("failed", reason="killed") for subject in Subject for creation in Creation}
    return Evidence(modes, [], [], linear, created)


def checked(evidence, *claims):
    found = {case["claim"]: decide(case, evidence) for case in CASES if not claims or case["claim"] in claims}
    return [found[claim] for claim in claims] if claims else found


def test_the_table_has_every_claim_once_in_the_documents_order():
    assert len({case["claim"] for case in CASES}) == len(CASES) == 29
    documents = [case["document"] for case in CASES]
    assert documents == sorted(documents)
    assert set(documents) == set(TITLES) == {1, 2, 3, 4, 5}
    assert all(case["why"].count(". ") >= 1 for case in CASES)


def test_verdicts_of_what_torch_defines(evidence):
    found = {claim["claim"]: claim for claim in checked(evidence, *EXPECTED)}
    assert {name: Verdict(found[name]["verdict"]) for name in EXPECTED} == EXPECTED
    assert all(claim["measured"] for claim in found.values())
    assert torch.is_grad_enabled()


def test_verdicts_on_runs_of_the_network(evidence):
    claims = [case["claim"] for case in CASES if case.get("check") in ("waste", "same_effect", "same_peak")]
    grows, same, peak = checked(evidence, *claims)
    assert grows["verdict"] == "holds in part"
    assert "grows by 9 MB a frame (8 frames done, ok), with gradients off it is flat (250 MB)" in grows["measured"]
    assert "1.00x" in grows["measured"]
    assert same["verdict"] == peak["verdict"] == "holds"
    assert "fp32: 300.0 and 300.0 MB, masks equal to the bit" in peak["measured"]


def test_what_could_not_be_measured_says_why(evidence):
    found = [claim for claim in checked(evidence).values() if claim["verdict"] == "not measured"]
    assert {claim["claim"].split()[0] for claim in found} == {
        "Switching", "The", "Memory", "After", "disable_torch_init", "Building",
    }  # fmt: skip
    assert sum("killed" in claim["measured"] for claim in found) == 5


def test_a_verdict_depends_on_all_its_parts():
    assert [verdict(True, True), verdict(True, False), verdict(False)] == [
        Verdict.holds, Verdict.holds_in_part, Verdict.does_not_hold,
    ]  # fmt: skip


def test_alternatives_take_turns_in_their_modes():
    seen = []
    spent = seconds_per_mode((torch.enable_grad, torch.no_grad), lambda: seen.append(torch.is_grad_enabled()), 40)
    assert len(spent) == 2
    assert seen[2:6] == [True, True, False, False]
    assert seen[6:10] == [False, False, True, True]


def test_the_documents_example_does_not_run_as_written(evidence):
    (claim,) = checked(evidence, next(case["claim"] for case in CASES if case.get("check") == "small_linear"))
    assert "As written the example raises: mat1 and mat2 shapes cannot be multiplied" in claim["measured"]


def test_disabled_init_leaves_linear_alone_and_is_undone():
    before = nn.Linear.reset_parameters
    with disabled_init():
        layer = nn.Linear(4, 4)
        assert nn.Linear.reset_parameters is not before
        assert layer.weight.requires_grad
    assert nn.Linear.reset_parameters is before


def test_the_linear_holds_its_output_alone_without_gradients(evidence):
    for mode in LINEAR_MODES:
        outcome = evidence.linear[mode] = Outcome("ok")
        linear_forward(
            40, mode, 64 * 10**9,
            lambda event, outcome=outcome, **figures: outcome.events.append({"event": event, **figures}),
        )  # fmt: skip
    held = {mode: outcome.last("measured")["held_bytes"] for mode, outcome in evidence.linear.items()}
    output, hidden = ROWS * FEATURES * 4, ROWS * 40 * 4
    assert held[GradMode.no_grad] == held[GradMode.inference_mode] == output
    assert held[GradMode.enable_grad] == output + hidden
    alone, high = (decide(case, evidence) for case in CASES if case.get("check") in ("output_alone", "high_and_low"))
    assert {alone["verdict"], high["verdict"]} == {"holds", "holds in part"}  # the peak lies within the forward
