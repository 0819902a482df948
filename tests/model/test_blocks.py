"""The residual blocks compared with those of torchvision."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet

from xmem_infer.model.blocks import BasicBlock, Bottleneck


@pytest.mark.parametrize(("ours", "theirs"), [(BasicBlock, resnet.BasicBlock), (Bottleneck, resnet.Bottleneck)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_equals_its_torchvision_counterpart(ours, theirs, stride):
    torch.manual_seed(0)
    out = 6 * theirs.expansion
    skips = [nn.Sequential(nn.Conv2d(5, out, 1, stride, bias=False), nn.BatchNorm2d(out)) for _ in range(2)]
    expected = theirs(5, 6, stride, skips[0]).double()
    found = ours(5, 6, stride, skips[1]).double()
    found.load_state_dict(expected.state_dict(), strict=True)
    x = torch.randn(2, 5, 9, 12).double()
    for mode in (True, False):
        before = x.clone()
        torch.testing.assert_close(found.train(mode)(x), expected.train(mode)(x))
        assert torch.equal(x, before)
