"""The documents' claims that need no child process: their verdicts on this version of torch."""

import torch
from torch import nn

from xmem_infer.config import GradMode
from xmem_infer.lab.ablation.claims import Verdict, refused, verdict
from xmem_infer.lab.ablation.claims_children import creation_claims, linear_claims
from xmem_infer.lab.ablation.claims_recording import recording_claims
from xmem_infer.lab.ablation.claims_switching import switching_claims
from xmem_infer.lab.ablation.claims_timed import in_turns, small_linear
from xmem_infer.lab.ablation.config import DocumentsConfig
from xmem_infer.lab.ablation.creation import disabled_init
from xmem_infer.lab.ablation.linear import linear_forward
from xmem_infer.lab.ablation.requests import LinearRequest

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


def test_verdicts_of_what_torch_defines():
    found = {claim.claim: claim for claim in (*recording_claims(), *switching_claims())}
    # What the order of autocast does is a matter of the version of torch.
    assert found.keys() - EXPECTED.keys() == {"With autocast, gradients off is the outer context"}
    assert {name: found[name].verdict for name in EXPECTED} == EXPECTED
    assert torch.is_grad_enabled()
    for claim in found.values():
        assert claim.measured
        assert claim.why.count(". ") >= 1
        assert 1 <= claim.document <= 5


def test_verdict_and_refused():
    assert [verdict(True, True), verdict(True, False), verdict(False)] == [
        Verdict.holds, Verdict.holds_in_part, Verdict.does_not_hold,
    ]  # fmt: skip
    assert refused(lambda: torch.ones(2) @ torch.ones(3)) != ""
    assert refused(lambda: None) == ""


def test_alternatives_take_turns_in_their_modes():
    seen = []
    spent = in_turns({"on": torch.enable_grad, "off": torch.no_grad}, lambda: seen.append(torch.is_grad_enabled()), 40)
    assert spent.keys() == {"on", "off"}
    assert seen[2:6] == [True, True, False, False]
    assert seen[6:10] == [False, False, True, True]


def test_the_documents_example_does_not_run_as_written():
    claim = small_linear(20)
    assert "cannot be multiplied" in claim.measured
    assert claim.figures["ratio"] > 0


def test_disabled_init_leaves_linear_alone_and_is_undone():
    before = nn.Linear.reset_parameters
    with disabled_init():
        layer = nn.Linear(4, 4)
        assert nn.Linear.reset_parameters is not before
        assert layer.weight.requires_grad
    assert nn.Linear.reset_parameters is before


def linear(mode):
    told = {}
    request = LinearRequest(50, 400, 10, mode, None, 64 * 10**9)
    linear_forward(request, lambda event, **fields: told.update(fields))
    return told


def test_the_linear_holds_its_output_alone_without_gradients():
    measured = {mode.name: linear(mode) for mode in (GradMode.enable_grad, GradMode.no_grad, GradMode.inference_mode)}
    output, hidden = 10 * 50 * 4, 10 * 400 * 4
    assert measured["no_grad"]["held_bytes"] == measured["inference_mode"]["held_bytes"] == output
    assert measured["enable_grad"]["held_bytes"] == output + hidden
    held, high = linear_claims(DocumentsConfig(50, 400, 10), measured)
    assert held.verdict is Verdict.holds
    assert high.verdict is Verdict.holds_in_part  # the peak lies within the forward


def test_what_could_not_be_measured_says_why():
    claims = list(linear_claims(DocumentsConfig(), {"enable_grad": "killed", "no_grad": "", "inference_mode": ""}))
    claims += creation_claims({"xmem default": "killed"})
    assert {claim.verdict for claim in claims} == {Verdict.not_measured}
    assert all("killed" in claim.measured for claim in claims)
