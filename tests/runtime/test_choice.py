import pytest
import torch

from xmem_infer.config import GradMode, Precision, RuntimeConfig
from xmem_infer.errors import UsageError
from xmem_infer.model.network import XMem
from xmem_infer.runtime.choice import check_runtime, choose, choose_backend
from xmem_infer.runtime.precision import candidates

CPU = torch.device("cpu")


def test_auto_takes_the_first_candidate_that_is_finite(tiny_network):
    prepared, reason = choose(tiny_network, RuntimeConfig(), CPU)
    assert prepared.precision is candidates(CPU)[0]
    assert prepared.backend == "fast"
    assert "auto" in reason


@pytest.mark.fault("weights that overflow in every precision", "error before the first frame")
def test_auto_refuses_weights_that_overflow_everywhere(tiny_network):
    broken = XMem(tiny_network.sizes)
    broken.load_state_dict(tiny_network.state_dict())
    with torch.no_grad():
        broken.key_encoder.trunk.conv1.weight.fill_(3e38)
    with pytest.raises(UsageError, match=r"non-finite.*fp32"):
        choose(broken, RuntimeConfig(), CPU)


@pytest.mark.parametrize("mode", GradMode)
def test_modes_that_record_gradients_use_the_eager_backend(mode):
    recording = mode in (GradMode.enable_grad, GradMode.enable_grad_detached)
    assert choose_backend(RuntimeConfig(grad_mode=mode)) == ("eager" if recording else "fast")
    assert choose_backend(RuntimeConfig(grad_mode=mode, variant="eager")) == "eager"
    asked = RuntimeConfig(grad_mode=mode, variant="fast")
    if recording:
        with pytest.raises(UsageError, match=rf"fast.*{mode.value}.*eager"):
            check_runtime(asked, CPU)
    else:
        check_runtime(asked, CPU)


def test_a_missing_precision_is_refused_before_a_network_is_loaded():
    with pytest.raises(UsageError, match="tf32"):
        check_runtime(RuntimeConfig(precision=Precision.tf32), CPU)
