import warnings

import numpy as np
import pytest
from drawn_masks import DAVIS, LIMIT, blobs, save
from PIL import Image

from xmem_infer.errors import UsageError
from xmem_infer.io.masks import as_mask, read_mask
from xmem_infer.io.palette import davis_palette


class TestAccepted:
    @pytest.mark.parametrize("ending", ["png", "bmp", "tif", "PNG"])
    def test_greyscale_keeps_its_values(self, tmp_path, ending):
        labels = blobs(3, 7, 255)
        mask = read_mask(save(tmp_path / f"m.{ending}", labels), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.ids.dtype == np.uint8
        assert mask.palette is None
        assert mask.source.endswith(f"m.{ending}")

    def test_black_and_white_is_label_255(self, tmp_path):
        mask = read_mask(save(tmp_path / "m.png", blobs(255)), LIMIT)
        assert np.unique(mask.ids).tolist() == [0, 255]

    def test_one_bit_is_label_1(self, tmp_path):
        labels = blobs(255)
        mask = read_mask(save(tmp_path / "m.png", Image.fromarray(labels).convert("1")), LIMIT)
        assert (mask.ids == (labels > 0)).all()

    def test_palette_keeps_indices_and_colours(self, tmp_path):
        labels = blobs(1, 2, 9)
        image = Image.fromarray(labels)
        image = image.convert("P")
        colours = bytes(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8))
        image.putpalette(colours)
        mask = read_mask(save(tmp_path / "m.png", image), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.palette == colours

    def test_short_palette_is_filled_up(self, tmp_path):
        image = Image.fromarray(blobs(1)).convert("P")
        image.putpalette([0, 0, 0, 9, 8, 7])
        mask = read_mask(save(tmp_path / "m.png", image), LIMIT)
        assert len(mask.palette) == 768
        assert mask.palette[:6] == bytes([0, 0, 0, 9, 8, 7])

    def test_palette_with_transparent_background(self, tmp_path):
        labels = blobs(1, 2)
        image = Image.fromarray(labels).convert("P")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mask = read_mask(save(tmp_path / "m.png", image, transparency=0), LIMIT)
        assert (mask.ids == labels).all()

    def test_rgb_in_davis_colours(self, tmp_path):
        labels = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, 0).repeat(4, 1)
        mask = read_mask(save(tmp_path / "m.png", DAVIS[labels]), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.palette == davis_palette()

    def test_a_mask_without_objects_is_accepted(self, tmp_path):
        assert not read_mask(save(tmp_path / "m.png", np.zeros((4, 5), np.uint8)), LIMIT).ids.any()

    def test_a_png_with_another_suffix(self, tmp_path):
        save(tmp_path / "m.bmp", blobs(1), format="PNG")
        assert read_mask(tmp_path / "m.bmp", LIMIT).ids.any()


class TestArrays:
    @pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16, np.int8])
    def test_integers(self, kind):
        labels = blobs(1, 2, 100)
        mask = as_mask(labels.astype(kind), LIMIT)
        assert mask.ids.dtype == np.uint8
        assert (mask.ids == labels).all()

    def test_bools_are_label_1(self):
        assert (as_mask(blobs(9) > 0, LIMIT).ids == (blobs(9) > 0)).all()

    def test_the_array_of_the_caller_is_copied(self):
        labels = blobs(1)
        mask = as_mask(labels, LIMIT)
        labels[:] = 7
        assert 7 not in mask.ids

    @pytest.mark.parametrize(
        "bad", [np.zeros((3, 3)), np.zeros((3, 3, 1), np.uint8), np.zeros(3, int), np.zeros((0, 3), int)]
    )
    @pytest.mark.fault("mask array of the wrong shape or type", "error states the shape and type received")
    def test_wrong_shape_or_type(self, bad):
        with pytest.raises(UsageError, match=r"got shape \(.*type"):
            as_mask(bad, LIMIT)

    @pytest.mark.parametrize("bad", [None, {"first": "mask.png"}])
    @pytest.mark.fault(
        "`mask=None` or another object that is not a mask", "error states what was received and what is accepted"
    )
    def test_no_mask_at_all(self, bad):
        with pytest.raises(UsageError, match=r"a mask is a file, an array, .* got (None|\{)"):
            as_mask(bad, LIMIT)

    @pytest.mark.fault("mask array with values below 0 or above 255", "error states the range of the values")
    def test_wrong_values(self):
        with pytest.raises(UsageError, match=r"ids from 0 to 255, got .* values from -1 to 3"):
            as_mask(np.array([[-1, 3]]), LIMIT)
        with pytest.raises(UsageError, match=r"ids from 0 to 255, got .* values from 0 to 299"):
            as_mask(np.arange(300).reshape(10, 30), LIMIT)

    def test_smoothed(self):
        with pytest.raises(UsageError, match="the mask array has smoothed edges"):
            as_mask(Image.fromarray(blobs(255)).resize((90, 70), Image.Resampling.BILINEAR), LIMIT)

    def test_palette(self):
        image = Image.fromarray(blobs(1)).convert("P")
        image.putpalette(b"\0\0\0\1\1\1")
        assert as_mask(image, LIMIT).palette[:6] == b"\0\0\0\1\1\1"
