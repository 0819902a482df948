import warnings

import numpy as np
import pytest
from image_files import WARN, cut, picture, png_that_declares, save_frames
from PIL import Image

from xmem_infer.config import DataConfig
from xmem_infer.errors import VideoError
from xmem_infer.io.frames import FrameFolder
from xmem_infer.io.images import TooManyPixels, read_header


class TestCorrupt:
    @pytest.mark.parametrize("name", ["3.jpg", "3.png", "3.bmp", "3.tif", "3.webp"])
    @pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
    @pytest.mark.fault(
        "frame {name} truncated", "error names the file; with `data.on_corrupt=warn` the previous frame is used"
    )
    def test_truncated_frame(self, tmp_path, name, share):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png", name, "4.png"], 40, 60)
        cut(folder / name, share)
        with pytest.raises(VideoError, match=rf"frame .*{name} .*on_corrupt=warn"):
            list(FrameFolder(folder, DataConfig()))
        source = FrameFolder(folder, WARN)
        frames = list(source)
        assert [f.corrupt is None for f in frames] == [True, True, False, True]
        assert [f.name for f in frames] == ["1", "2", "3", "4"]
        assert (frames[2].image == frames[1].image).all()
        assert not np.shares_memory(frames[2].image, frames[1].image)
        assert len(source.warnings) == 1
        assert name in source.warnings[0]

    @pytest.mark.fault("flipped byte in a PNG frame", "error names the frame")
    def test_a_flipped_byte_in_a_png_is_detected(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png"], 40, 60)
        data = bytearray((folder / "2.png").read_bytes())
        data[len(data) // 2] ^= 0x10
        (folder / "2.png").write_bytes(data)
        with pytest.raises(VideoError, match=r"2\.png"):
            list(FrameFolder(folder, DataConfig()))

    @pytest.mark.parametrize("share", [0.01, 0.7])
    @pytest.mark.parametrize("data", [DataConfig(), WARN], ids=["fail", "warn"])
    @pytest.mark.fault("first frame truncated", "error even with `data.on_corrupt=warn`: there is no previous frame")
    def test_first_frame_is_always_an_error(self, tmp_path, data, share):
        folder = save_frames(tmp_path / "clip", ["1.jpg", "2.jpg"])
        cut(folder / "1.jpg", share)
        with pytest.raises(VideoError, match=r"1\.jpg .*first frame"):
            list(FrameFolder(folder, data))

    @pytest.mark.fault("HTML page named .png among the frames", "error names the file")
    def test_a_file_that_is_not_an_image(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png"])
        (folder / "2.png").write_text("<html>404</html>")
        with pytest.raises(VideoError, match=r"2\.png is not a JPEG, PNG"):
            FrameFolder(folder, DataConfig())
        assert "is not a JPEG, PNG" in list(FrameFolder(folder, WARN))[1].corrupt

    def test_the_previous_frame_is_repeated_until_a_valid_one(self, tmp_path):
        folder = save_frames(tmp_path / "clip", [f"{i}.png" for i in range(1, 6)])
        for i in (2, 3):
            cut(folder / f"{i}.png", 0.5)
        frames = list(FrameFolder(folder, WARN))
        assert [f.corrupt is not None for f in frames] == [False, True, True, False, False]
        assert (frames[2].image == frames[0].image).all()
        assert (frames[3].image == picture(3)).all()

    @pytest.mark.fault("frame changes its size after it was checked", "error names both sizes")
    def test_frame_that_changes_between_check_and_use(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png"])
        source = FrameFolder(folder, DataConfig())
        save_frames(tmp_path / "clip", ["1.png", "2.png"], 5, 5)
        with pytest.raises(VideoError, match="17x12 before, 5x5 now"):
            list(source)


class TestBombs:
    @pytest.mark.fault("frame header that declares 60,000 x 50,000 px", "error before memory is allocated")
    def test_images_over_the_limit_are_refused_before_allocation(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png"])
        png_that_declares(folder / "2.png", 60_000, 50_000)
        before = Image.MAX_IMAGE_PIXELS
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(VideoError, match=r"2\.png declares 60000x50000 = 3,000,000,000 pixels"):
                FrameFolder(folder, WARN)
        assert before == Image.MAX_IMAGE_PIXELS

    def test_the_pixel_limit_replaces_that_of_pillow(self, tmp_path):
        bomb = png_that_declares(tmp_path / "1.png", 20_000, 20_000)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_header(bomb, 400_000_000).size == (20_000, 20_000)
            with pytest.raises(TooManyPixels, match="399,999,999"):
                read_header(bomb, 399_999_999)

    @pytest.mark.parametrize("lossless", [True, False])
    @pytest.mark.parametrize("exif", [b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"])
    def test_webp_size_is_checked_before_pillow_allocates(self, tmp_path, lossless, exif):
        Image.fromarray(picture(0, 30, 40)).save(tmp_path / "1.webp", lossless=lossless, exif=exif)
        assert read_header(tmp_path / "1.webp", 1200).size == (30, 40)
        with pytest.raises(TooManyPixels, match="declares 40x30"):
            read_header(tmp_path / "1.webp", 1199)
