"""The Python API: names for choices, tensors and PIL images as inputs, `len`, `repr`."""

import numpy as np
import pytest
import torch
from PIL import Image

from xmem_infer import DataConfig, Frame, LabelMask, RuntimeConfig, Segmenter, UsageError, prepare
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.io.frames import open_frames
from xmem_infer.io.palette import davis_palette


@pytest.fixture
def clip(make_clip):
    return make_clip(4, 48, 70, 2, seed=3)


def test_settings_are_keyword_arguments(tiny_weights):
    made = Segmenter.from_weights(tiny_weights, device="cpu", precision="bf16", size=64)
    assert (made.prepared.device.type, made.prepared.precision.name, made.data.size) == ("cpu", "bf16", 64)
    over = Segmenter.from_weights(tiny_weights, runtime=RuntimeConfig(threads=1, precision="bf16"), precision="fp32")
    assert (over.runtime.threads, over.prepared.precision.name) == (1, "fp32")
    for wrong, said in (
        ({"device": "gpu"}, "auto, cpu, cuda, mps"),
        ({"precision": "half"}, "auto, fp32"),
        ({"size": 3}, "16"),
    ):
        with pytest.raises(UsageError, match=said):
            Segmenter.from_weights(tiny_weights, **wrong)


def test_prepare_accepts_names(tiny_network):
    assert prepare(tiny_network, "cpu", "bf16").precision.name == "bf16"
    with pytest.raises(UsageError, match="precision=half is not possible"):
        prepare(tiny_network, "cpu", "half")


def test_tensors_and_pil_images_are_accepted(tiny_network, clip):
    images, masks = clip
    made = Segmenter(tiny_network, data=DataConfig(size=-1))
    expected = [result.mask for result in made.segment(images, masks[0])]
    palette = Image.fromarray(masks[0])
    palette.putpalette(davis_palette())
    stacked = torch.from_numpy(np.stack(images))
    for frames, mask in (
        (stacked, torch.from_numpy(masks[0])),
        (stacked.permute(0, 3, 1, 2), torch.from_numpy(masks[0]).long()),
        ([Image.fromarray(image) for image in images], Image.fromarray(masks[0])),
        (images, palette),
    ):
        found = [result.mask for result in made.segment(frames, mask)]
        assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))
    with pytest.raises(UsageError, match=r"the mask array must be of shape .* got .* type float32"):
        made.segment(images, torch.rand(48, 70))


def test_len_is_available_if_the_length_is_known(tiny_network, clip, tmp_path):
    images, masks = clip
    made = Segmenter(tiny_network, data=DataConfig(size=-1))
    results = made.segment(images, masks[0])
    assert len(results) == len(ArrayFrames(images)) == len(list(results)) == 4
    Image.fromarray(images[0]).save(tmp_path / "1.png")
    assert len(open_frames(tmp_path, DataConfig())) == 1
    unknown = made.segment(iter(images), masks[0])
    with pytest.raises(TypeError, match="not known"):
        len(unknown)
    assert len(list(unknown)) == 4


def test_reprs_are_short(tiny_network, clip):
    images, masks = clip
    made = Segmenter(tiny_network, data=DataConfig(size=-1), runtime=RuntimeConfig(precision="fp32"))
    result = next(made.segment(images, masks[0]))
    assert repr(result.frame) == f"Frame(0, {result.frame.name!r}, 70x48)"
    assert repr(LabelMask(masks[0], davis_palette())) == "LabelMask('mask', 70x48, objects [1, 2])"
    assert "pixels by object {1: " in repr(result)
    assert repr(made) == "Segmenter(fast on cpu in fp32, size -1)"
    assert len(repr(result)) < 150


@pytest.mark.parametrize("threads", [10_000, 10**11])
@pytest.mark.fault("`RuntimeConfig(threads={threads})`", "error when the network is loaded")
def test_more_threads_than_cores_are_refused(tiny_weights, threads):
    with pytest.raises(UsageError, match=f"threads={threads} .* the cores that this process may use"):
        Segmenter.from_weights(tiny_weights, runtime=RuntimeConfig(threads=threads))


def test_mismatched_frames_and_masks_are_refused(tiny_network, clip):
    images, masks = clip
    made = Segmenter(tiny_network, data=DataConfig(size=-1))
    for image in (images[0] / 255, images[0][..., 0], np.moveaxis(images[0], 2, 0)):
        with pytest.raises(UsageError, match=r"frame a: its image must be \(height, width, 3\) uint8 RGB, got"):
            made.predict(made.start(), Frame(0, "a", image), LabelMask(masks[0]))
    for ids in (masks[0] / 1.0, masks[0][..., None], masks[0].astype(int) * 300):
        with pytest.raises(UsageError, match=r"mask must be of shape \(height, width\) with integer ids from 0 to 255"):
            LabelMask(ids)
    with pytest.raises(UsageError, match=r"mask mask is 70x9, frame a is 70x48"):
        made.predict(made.start(), Frame(0, "a", images[0]), LabelMask(masks[0][:9]))
