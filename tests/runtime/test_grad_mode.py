import pytest
import torch

from xmem_infer.config import GradMode
from xmem_infer.runtime.contexts import grad_mode

OFF = [GradMode.set_grad_enabled, GradMode.no_grad, GradMode.inference_mode]
ON = [GradMode.enable_grad, GradMode.enable_grad_detached]


def test_all_modes_are_covered():
    assert {*OFF, *ON} == set(GradMode)


@pytest.mark.parametrize("mode", OFF)
def test_gradients_off(mode):
    x = torch.ones(2, requires_grad=True)
    with grad_mode(mode):
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (mode is GradMode.inference_mode)
        assert (x * 2).grad_fn is None
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("mode", ON)
def test_gradients_on_even_inside_no_grad(mode):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        with grad_mode(mode):
            assert (x * 2).grad_fn is not None
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("mode", list(GradMode))
@pytest.mark.parametrize("before", [True, False])
def test_the_previous_mode_is_restored_even_after_an_error(mode, before):
    with torch.set_grad_enabled(before):
        with pytest.raises(ZeroDivisionError), grad_mode(mode):
            raise ZeroDivisionError
        assert torch.is_grad_enabled() == before
        assert not torch.is_inference_mode_enabled()
