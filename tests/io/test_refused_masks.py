import os

import numpy as np
import pytest
from drawn_masks import blobs, refused, save
from image_files import png_that_declares
from PIL import Image, ImageFilter

from xmem_infer.errors import UsageError
from xmem_infer.io.masks import check_mask
from xmem_infer.types import LabelMask


class TestRefused:
    @pytest.mark.fault("mask file does not exist", "error names the file")
    def test_missing(self, tmp_path):
        refused(tmp_path / "m.png", "cannot be read: No such file")
        refused(tmp_path, "cannot be read: Is a directory")

    @pytest.mark.fault("mask saved as JPEG", "error: JPEG compression alters labels")
    def test_jpeg(self, tmp_path):
        refused(save(tmp_path / "m.jpg", blobs(255)), "is a JPEG.*save the mask as PNG")
        refused(save(tmp_path / "m.png", blobs(255), format="JPEG"), "is a JPEG")

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_half_transparent(self, tmp_path, mode):
        image = Image.fromarray(blobs(1)).convert(mode)
        image.putalpha(Image.fromarray(blobs(128)))
        refused(save(tmp_path / "m.png", image), "half-transparent pixels")

    @pytest.mark.parametrize("mode", ["F", "CMYK"])
    def test_other_modes(self, tmp_path, mode):
        refused(save(tmp_path / "m.tif", Image.fromarray(blobs(1)).convert(mode)), f"pixels of mode {mode}")

    def test_sixteen_bits(self, tmp_path):
        labels = blobs(1, 2).astype(np.uint16)
        refused(save(tmp_path / "n.png", labels * 1000), r"16 bits per pixel \(labels: 2, from 0 to 2000\).*renumber")

    @pytest.mark.fault("mask with 299 labels", "error: at most 255 labels are supported")
    def test_too_many_labels(self, tmp_path):
        labels = np.arange(300, dtype=np.uint16).repeat(40).reshape(100, 120)
        refused(save(tmp_path / "m.png", labels), "has 299 labels, 255 are possible")

    def test_a_photo_in_colour(self, tmp_path):
        blocks = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        refused(save(tmp_path / "m.png", blocks), "no mask but a picture.*more than the 255")

    def test_soft_edges_in_colour(self, tmp_path):
        red = Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[(blobs(1) > 0).astype(int)])
        refused(save(tmp_path / "m.png", red.resize((90, 70), Image.Resampling.BILINEAR)), "smoothed edges")

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95])
    @pytest.mark.fault("mask file truncated", "error names the file")
    def test_truncated(self, tmp_path, share):
        path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 9, (50, 50)).astype(np.uint8))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        refused(path, "truncated|damaged|is empty|not a JPEG|cannot be read")

    def test_no_image(self, tmp_path):
        (tmp_path / "m.png").write_text("no image at all, but a text")
        refused(tmp_path / "m.png", "is not a JPEG, PNG")

    @pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
    def test_no_permission(self, tmp_path):
        path = save(tmp_path / "m.png", blobs(1))
        path.chmod(0)
        refused(path, "Permission denied")

    @pytest.mark.fault("mask header that declares 90,000 x 90,000 px", "error before memory is allocated")
    def test_decompression_bomb(self, tmp_path):
        refused(png_that_declares(tmp_path / "m.png", 90_000, 90_000), "declares 90000x90000")

    def test_every_error_message_is_distinct(self, tmp_path):
        # The text between the file name and the first full stop must differ between cases.
        grey = blobs(255)
        cases = [
            grey.astype(np.uint16) * 3,
            np.arange(300, dtype=np.uint16).repeat(2).reshape(20, 30),
            np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1),
            Image.merge("LA", [Image.fromarray(blobs(128))] * 2),
            Image.fromarray(grey).filter(ImageFilter.GaussianBlur(2)),
        ]
        messages = {refused(save(tmp_path / "m.png", case), "m.png").split("m.png ")[1][:14] for case in cases}
        assert len(messages) == len(cases)


class TestSize:
    def mask(self, height, width):
        return LabelMask(np.zeros((height, width), np.uint8), None, "m.png")

    def test_same_size_passes(self):
        check_mask(self.mask(48, 85), (48, 85))

    @pytest.mark.parametrize(
        ("found", "hint"), [((85, 48), "turned by 90"), ((96, 170), "nearest neighbour"), ((50, 50), "pixel for pixel")]
    )
    @pytest.mark.fault("mask size differs from the video size", "error states both sizes and a hint: {hint}")
    def test_both_sizes_are_named_and_a_hint_is_given(self, found, hint):
        with pytest.raises(UsageError, match=rf"m\.png is {found[1]}x{found[0]}, the video is 85x48; .*{hint}"):
            check_mask(self.mask(*found), (48, 85))

    def test_where(self):
        with pytest.raises(UsageError, match="the video clip is 2x2"):
            check_mask(self.mask(3, 3), (2, 2), "the video clip")
