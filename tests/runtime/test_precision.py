import pytest
import torch

from xmem_infer.config import Device, Precision
from xmem_infer.errors import EnvironmentFault, UsageError
from xmem_infer.runtime.contexts import explain_out_of_memory, thread_count
from xmem_infer.runtime.device import choose_device
from xmem_infer.runtime.precision import check_precision, precision_context

CPU = torch.device("cpu")


def test_tf32_is_refused_on_the_cpu():
    with pytest.raises(UsageError, match=r"tf32.*NVIDIA.*cpu"):
        check_precision(Precision.tf32, CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.fault("`runtime.device=cuda` without a GPU", "error: no CUDA device")
def test_cuda_is_refused_without_a_gpu():
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device(Device.cuda)
    assert choose_device(Device.auto) == CPU


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.fp32, torch.float32), (Precision.bf16, torch.bfloat16)])
def test_autocast_is_enabled_and_restored(precision, dtype):
    a = torch.ones(4, 4)
    with precision_context(precision, CPU):
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


def test_keys_and_probabilities_stay_float32_under_autocast(tiny_network):
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad(), precision_context(Precision.bf16, CPU):
        features = tiny_network.encode_image(image)
        state = {"sensory": torch.zeros(1, 1, 8, 2, 2)}
        value, state = tiny_network.encode_memory(image, features, state, torch.rand(1, 1, 32, 32), True)
        state, _, prob = tiny_network.segment(features, [value.float()], state, True)
    assert features.f16.dtype == torch.bfloat16
    keys = features.key, features.shrinkage, features.selection
    assert {x.dtype for x in (*keys, state["sensory"], prob)} == {torch.float32}


def test_threads_are_restored():
    before = torch.get_num_threads()
    with thread_count(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.fault("out of memory", "error names the settings that reduce memory use")
def test_out_of_memory_names_the_settings_that_help():
    with pytest.raises(EnvironmentFault, match=r"frame 00007.*data\.size"), explain_out_of_memory("00007"):
        torch.empty(2**60)  # more than any machine has
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory("00007"):
        torch.ones(2, 3) @ torch.ones(2, 3)
