"""OpenVINO models: built at the second use of a size, cached, used by auto, compared with torch."""

import copy
import ctypes
import os
import sys
from functools import partial

import pytest
import torch
from kills import each_kill

from xmem_infer.config import Precision, RuntimeConfig
from xmem_infer.errors import UsageError
from xmem_infer.runtime import choice, precision
from xmem_infer.runtime.backends import openvino_cache, openvino_verbs, prepare
from xmem_infer.runtime.backends.differences import differences
from xmem_infer.runtime.backends.prepare import check_backend
from xmem_infer.runtime.precision import x86_has_bf16

CPU = torch.device("cpu")
AUTO = RuntimeConfig(precision=Precision.fp32)
ASKED = RuntimeConfig(precision=Precision.fp32, variant="openvino")


def features(network, image):
    with torch.inference_mode():
        return network.encode_image(image)


@pytest.mark.slow
def test_a_model_is_built_once_and_used_by_auto(openvino_models, tiny_network, caplog):
    caplog.set_level("INFO", "xmem_infer")
    network = copy.deepcopy(tiny_network)
    with torch.no_grad():
        network.key_projection.key.bias += 1  # so that no other test has built its models
    image = torch.randn(1, 3, 64, 64)
    assert choice.choose(network, AUTO, CPU)[0].backend == "fast"
    prepared, _ = choice.choose(network, ASKED, CPU)
    assert prepared.backend == "openvino" and any("OpenVINO" in words for words in prepared.active)
    first = features(prepared.network, image)
    assert not openvino_cache.has_models(network)  # the first use of a size runs in torch
    second = features(prepared.network, image)
    assert openvino_cache.has_models(network) and "compiling encode_image" in caplog.text
    third = features(prepared.network, image)
    for one, other, last in zip(first, second, third, strict=True):
        torch.testing.assert_close(other, one, atol=0, rtol=0)
        torch.testing.assert_close(last, one, atol=1e-4, rtol=1e-4)
    assert any(
        not torch.equal(one, last) for one, last in zip(first, third, strict=True)
    )  # the third result is from OpenVINO
    caplog.clear()
    later, _ = choice.choose(network, AUTO, CPU)
    assert later.backend == "openvino"
    for _ in range(3):
        again = features(later.network, image)
    assert "compiling" not in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(again, third, strict=True))
    assert not list(openvino_models.rglob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.fault(
    "SIGKILL at any step of saving or deleting a compiled model", "the saved model is either complete or absent"
)
@pytest.mark.parametrize("change", ["kept", "removed"])
def test_a_killed_process_leaves_complete_models_or_none(openvino_models, tiny_network, tmp_path, monkeypatch, change):
    def write(folder):
        for name in ("model.xml", "model.bin", "other"):
            (folder / name).write_text("of OpenVINO")

    model = openvino_cache.models_folder(tiny_network).name + "/encode_image-1"
    keep, forget = partial(openvino_cache.store_model, write), openvino_cache.remove_model
    before, after = (forget, keep) if change == "kept" else (keep, forget)
    for place in each_kill(tmp_path, lambda at: after(at / model), lambda at: before(at / model)):
        monkeypatch.setattr(openvino_cache, "_cache", lambda place=place: place)
        files = list((place / model).glob("*"))
        assert len(files) in (0, 3)
        assert openvino_cache.has_models(tiny_network) == (len(files) == 3)
        openvino_cache.store_model(write, place / model)
        openvino_cache.store_model(lambda to: pytest.fail("there is one already"), place / model)
        assert len(list((place / model).iterdir())) == 3 and not list(place.rglob("*.partial"))
    assert len(files) == (3 if change == "kept" else 0)


@pytest.mark.slow
@pytest.mark.fault("damaged OpenVINO model in the cache", "warning; torch is used and the next run rebuilds the model")
def test_a_damaged_openvino_model_is_rebuilt(openvino_models, tiny_network, monkeypatch):
    network, said, image = copy.deepcopy(tiny_network).eval().requires_grad_(False), [], torch.randn(1, 3, 64, 64)
    monkeypatch.setattr(openvino_verbs.log, "warning", said.append)

    def run():
        verbs = openvino_verbs.OpenVinoVerbs(network, openvino_models / "damaged")
        return [features(verbs, image) for _ in range(3)]

    first = run()
    (weights,) = (openvino_models / "damaged").rglob("model.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    in_torch = run()
    assert len(said) == 1 and "encode_image cannot be built" in said[0]
    assert all(torch.equal(one, other) for one, other in zip(in_torch[2], in_torch[0], strict=True))
    third = run()
    assert len(said) == 1
    assert all(torch.equal(one, other) for one, other in zip(third[2], first[2], strict=True))


class PassThrough(torch.nn.Module):
    """A module that returns its input unchanged, and a computed tensor."""

    conventions = None

    def encode_image(self, image):
        return image, image * 2


@pytest.mark.slow
def test_inputs_passed_through_unchanged_are_supported(openvino_models, caplog):
    verbs = openvino_verbs.OpenVinoVerbs(PassThrough(), openvino_models / "passing")
    given = torch.randn(1, 3, 64, 64)
    for _ in range(4):
        image = given.clone()
        same, twice = features(verbs, image)
        assert torch.equal(image, given) and torch.equal(same, given) and torch.equal(twice, given * 2)
    assert "differs" not in caplog.text


class SignalStack(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack():
    found = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.address, found.flags, found.size


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
@pytest.mark.fault("Ctrl-C after OpenVINO models were freed", "still handled: signal handlers are unaffected")
def test_freed_models_do_not_change_the_signal_stack(openvino_models):
    before, made = signal_stack(), []
    for place in range(2):
        made.append(openvino_verbs.OpenVinoVerbs(PassThrough(), openvino_models / f"freed {place}"))
        for _ in range(3):
            features(made[place], torch.randn(1, 3, 64, 64))
    assert signal_stack() == before
    while made:
        del made[0]
    assert signal_stack() == before


@pytest.mark.slow
@pytest.mark.fault("OpenVINO model with deviating output", "warning; torch is used instead")
def test_a_model_that_differs_is_not_used(openvino_models, tiny_network, monkeypatch):
    other, said = copy.deepcopy(tiny_network).eval().requires_grad_(False), []
    with torch.no_grad():
        other.key_projection.key.bias += 2
    network = copy.deepcopy(tiny_network).eval().requires_grad_(False)
    verbs = openvino_verbs.OpenVinoVerbs(network, openvino_models / "same")
    monkeypatch.setattr(verbs, "_source", lambda key, given: openvino_verbs.convert(other, key[0], given))
    monkeypatch.setattr(openvino_verbs.log, "warning", said.append)
    image = torch.randn(1, 3, 64, 64)
    found = [features(verbs, image) for _ in range(3)]
    assert len(said) == 1 and "encode_image differs" in said[0]
    assert all(torch.equal(one, other) for one, other in zip(found[2], found[0], strict=True))


needs_bf16 = pytest.mark.skipif(not x86_has_bf16(), reason="needs a CPU that computes in bf16")


@pytest.mark.slow
@needs_bf16
def test_models_compute_in_bf16(openvino_models, tiny_network, caplog):
    network = copy.deepcopy(tiny_network).eval().requires_grad_(False)
    image = torch.randn(1, 3, 64, 64)
    fp32, bf16 = (openvino_verbs.OpenVinoVerbs(network, openvino_models / "half", bf16=on) for on in (False, True))
    expected, found = ([features(verbs, image) for _ in range(3)][2] for verbs in (fp32, bf16))
    assert 1e-4 < differences("encode_image", found, expected)[0] < 0.1
    assert "differs" not in caplog.text
    strict = openvino_verbs.OpenVinoVerbs(network, openvino_models / "half", bf16=True)
    strict.limits = {"encode_image": 1e-4}
    for _ in range(3):
        found = features(strict, image)
    assert "encode_image differs" in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(found, network.encode_image(image), strict=True))


@pytest.mark.parametrize("computes", [True, False])
def test_auto_uses_existing_models_if_they_are_faster(computes, openvino_models, tiny_network, monkeypatch):
    monkeypatch.setattr(choice, "has_models", lambda network, toolchain="": not toolchain)
    monkeypatch.setattr(choice, "has_winograd_convolutions", lambda network: True)
    for module in (choice, prepare):
        monkeypatch.setattr(module, "x86_has_bf16", lambda: computes)
    monkeypatch.setattr(precision, "_cpu_has", lambda kind: computes)
    prepared, _ = choice.choose(tiny_network, RuntimeConfig(), CPU)
    expected = ("openvino", Precision.bf16) if computes else ("fast", Precision.fp32)
    assert (prepared.backend, prepared.precision) == expected


@pytest.mark.parametrize(("device", "refused"), [("cpu", Precision.fp16), ("cuda", Precision.fp32)])
@pytest.mark.fault("OpenVINO with fp16 or on a GPU", "error before a network is loaded")
def test_unsupported_openvino_settings_are_refused(device, refused, openvino_models):
    with pytest.raises(UsageError, match=rf"fp32, bf16 or int8 on the CPU, not in {refused.value} on {device}"):
        check_backend("openvino", refused, torch.device(device))


@pytest.mark.fault("OpenVINO with bf16 on a CPU that does not compute in it", "error before a network is loaded")
def test_bf16_is_refused_without_its_arithmetic(openvino_models, monkeypatch):
    check_backend("openvino", Precision.auto, CPU)
    monkeypatch.setattr(prepare, "x86_has_bf16", lambda: False)
    with pytest.raises(UsageError, match=r"does not compute in bf16.*use fp32 or int8"):
        check_backend("openvino", Precision.bf16, CPU)


@pytest.mark.fault("OpenVINO is not installed", "error names the extra to install; `auto` uses another backend")
def test_missing_openvino_is_reported(monkeypatch, tiny_network):
    for module in (openvino_cache, prepare):
        monkeypatch.setattr(module, "openvino_version", lambda: None)
    with pytest.raises(UsageError, match=r"xmem-infer\[cpu\]"):
        choice.check_runtime(ASKED, CPU)
    assert choice.choose(tiny_network, AUTO, CPU)[0].backend == "fast"
