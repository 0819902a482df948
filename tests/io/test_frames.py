import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xmem_infer.config import DataConfig, OnCorrupt
from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.io.frames import FrameFolder, FrameSource, open_frames
from xmem_infer.io.images import TooManyPixels, UnreadableImage, read_header, read_rgb, to_rgb
from xmem_infer.io.listing import natural_key, numbered_name, numbering_warnings

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WARN = DataConfig(on_corrupt=OnCorrupt.warn)


def picture(seed: int = 0, height: int = 12, width: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save_frames(folder: Path, names: list[str], height: int = 12, width: int = 17) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(picture(seed, height, width)).save(folder / name)
    return folder


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def png_that_declares(path: Path, width: int, height: int) -> Path:
    """Write a PNG of a few bytes whose header declares a huge image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return path


class TestFolder:
    def test_frames_come_in_natural_order_with_pixels_and_stems(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["f10.png", "f1.png", "f2.png"])
        source = FrameFolder(folder, DataConfig())
        frames = list(source)
        assert [f.name for f in frames] == source.stems == ["f1", "f2", "f10"]
        assert [f.index for f in frames] == [0, 1, 2]
        assert (source.name, source.size, source.count, source.fps) == ("clip", (12, 17), 3, None)
        for frame, seed in zip(frames, (1, 2, 0), strict=True):
            assert (frame.image == picture(seed)).all()
            assert frame.image.dtype == np.uint8
            assert frame.image.flags.writeable
            assert frame.time_s is None
            assert frame.corrupt is None
        assert isinstance(source, FrameSource)

    def test_every_kind_of_image_in_any_case_and_nothing_else(self, tmp_path):
        names = ["1.JPG", "2.jpeg", "3.PnG", "4.webp", "5.bmp", "6.TIF", "7.tiff"]
        folder = save_frames(tmp_path / "clip", names)
        for junk in (".DS_Store", "Thumbs.db", "._1.jpg", ".hidden.png", "notes.txt", "clip.mp4"):
            (folder / junk).write_bytes(b"junk")
        (folder / "sub.png").mkdir()
        source = FrameFolder(folder, DataConfig())
        assert [f.name for f in source] == ["1", "2", "3", "4", "5", "6", "7"]

    def test_the_format_is_detected_from_content_not_suffix(self, tmp_path):
        folder = tmp_path / "clip"
        folder.mkdir()
        Image.fromarray(picture()).save(folder / "1.jpg", format="PNG")
        assert (next(iter(FrameFolder(folder, DataConfig()))).image == picture()).all()

    def test_it_can_be_iterated_again(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png", "4.png"])
        cut(folder / "2.png", 0.6)
        source = FrameFolder(folder, WARN)
        assert [f.index for f in source] == [f.index for f in source] == [0, 1, 2]
        assert len(source.warnings) == 2  # the gap and the corrupt frame, once each

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 1)])
    def test_tiny_and_odd_sizes_and_one_frame(self, tmp_path, size):
        folder = save_frames(tmp_path / "clip", ["only.png"], *size)
        source = FrameFolder(folder, DataConfig())
        assert source.size == size
        assert [f.image.shape for f in source] == [(*size, 3)]

    def test_missing_folder(self, tmp_path):
        with pytest.raises(UsageError, match=r"nowhere does not exist"):
            open_frames(tmp_path / "nowhere", DataConfig())
        with pytest.raises(UsageError, match=r"nowhere does not exist"):
            FrameFolder(tmp_path / "nowhere", DataConfig())

    @pytest.mark.fault("empty folder", "error says that the folder is empty")
    def test_an_empty_folder_is_reported_as_empty(self, tmp_path):
        with pytest.raises(UsageError, match=r"holds no images .*it holds nothing"):
            open_frames(tmp_path, DataConfig())

    @pytest.mark.fault("folder without images", "error lists what the folder contains")
    def test_a_folder_without_images_lists_its_content(self, tmp_path):
        for name in ("a.mp4", "b.MP4", "c.txt"):
            (tmp_path / name).touch()
        (tmp_path / "deeper").mkdir()
        with pytest.raises(UsageError, match=r"2 \.mp4 files, 1 \.txt file, 1 folder \(deeper\)") as caught:
            open_frames(tmp_path, DataConfig())
        assert str(tmp_path) in str(caught.value)

    def test_single_image_is_refused_with_advice(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png"])
        with pytest.raises(UsageError, match="single image"):
            open_frames(folder / "1.png", DataConfig())

    @pytest.mark.fault("2.jpg and 2.png in one folder", "error names both files: the frame is ambiguous")
    def test_two_files_of_one_stem(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.jpg", "2.png"])
        with pytest.raises(UsageError, match=r"2\.jpg and 2\.png"):
            FrameFolder(folder, DataConfig())

    @pytest.mark.fault("frames of different sizes", "error names the first frame that differs and both sizes")
    def test_mixed_sizes_name_the_first_different_frame_and_both_sizes(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["1.png", "2.png", "3.png"])
        save_frames(folder, ["3.png"], 12, 18)
        with pytest.raises(VideoError, match=r"3\.png is 18x12, 1\.png is 17x12"):
            FrameFolder(folder, WARN)


class TestNumbering:
    @pytest.mark.fault("gaps in the frame numbers", "warning gives their number and positions")
    def test_gaps_are_counted(self, tmp_path):
        folder = save_frames(tmp_path / "clip", ["a3.png", "a4.png", "a7.png", "a8.png", "a10.png"])
        warning = FrameFolder(folder, DataConfig()).warnings
        assert len(warning) == 1
        assert "after 4, after 8" in warning[0]
        assert "3 missing" in warning[0]

    def test_sampled_video(self):
        assert "steps of 5" in numbering_warnings(["00000", "00005", "00010"])[0]

    @pytest.mark.parametrize(
        "stems", [["1"], ["1", "2", "3"], ["a", "b"], ["a1", "b7"], ["1", "01"], ["5", "9"], ["10", "43", "77"]]
    )
    def test_no_warning(self, stems):
        assert numbering_warnings(stems) == []

    def test_names_of_numbered_frames(self):
        assert numbered_name(7, None) == "00007"
        assert numbered_name(7, 100_000) == "00007"
        assert numbered_name(7, 100_001) == "000007"
        assert numbered_name(123_456, None) == "123456"

    @given(st.lists(st.integers(0, 10**6), unique=True))
    def test_natural_order_is_the_order_of_numbers(self, numbers):
        names = [f"img_{n}.png" for n in numbers]
        assert sorted(names, key=natural_key) == [f"img_{n}.png" for n in sorted(numbers)]

    @given(st.lists(st.text(max_size=6)))
    def test_any_names_can_be_ordered(self, names):
        assert sorted(sorted(names, key=natural_key), key=natural_key) == sorted(names, key=natural_key)


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


class TestColours:
    def test_sixteen_bits_are_scaled(self, tmp_path):
        values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
        for name in ("1.png", "1.tif"):
            Image.fromarray(values).save(tmp_path / name)
            pixels = read_rgb(tmp_path / name, 100)
            assert pixels[0, :, 0].tolist() == [round(int(v) / 257) for v in values[0]]
            assert (pixels == pixels[..., :1]).all()

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
    def test_other_modes_become_rgb(self, mode):
        image = Image.fromarray(picture()).convert(mode)
        pixels = to_rgb(image)
        assert pixels.shape == (12, 17, 3)
        assert pixels.dtype == np.uint8
        assert (pixels == np.array(image.convert("RGB"))).all()

    def test_transparency_does_not_change_colours(self):
        colours = picture()
        alpha = picture(1)[..., :1]
        assert (to_rgb(Image.fromarray(np.concatenate([colours, alpha], 2))) == colours).all()

    def test_palette_with_transparency_makes_no_noise(self, tmp_path):
        image = Image.fromarray(picture()).quantize(8)
        image.save(tmp_path / "1.png", transparency=bytes(range(8)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = read_rgb(tmp_path / "1.png", 1000)
        assert (pixels == np.array(image.convert("RGB"))).all()

    @pytest.mark.parametrize("image", [Image.new("F", (3, 3)), Image.new("I", (3, 3), 70_000)])
    def test_values_without_a_range_are_refused(self, image):
        with pytest.raises(UnreadableImage, match="save it with 8 or 16 bits"):
            to_rgb(image)


# Stored corners that are shown clockwise from the top left, by EXIF orientation: EXIF 2.3, 4.6.4
SEEN_FROM_TOP_LEFT = ["abcd", "badc", "cdab", "dcba", "adcb", "dabc", "cbad", "bcda"]


class TestOrientation:
    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_frames_are_rotated_by_exif_orientation(self, tmp_path, ending, orientation):
        corners = {"a": (0, 0), "b": (0, -1), "c": (-1, -1), "d": (-1, 0)}
        levels = {"a": 10, "b": 90, "c": 170, "d": 250}
        stored = np.zeros((32, 48), np.uint8)
        for corner, (y, x) in corners.items():
            block = (slice(0, 16) if y == 0 else slice(16, 32), slice(0, 24) if x == 0 else slice(24, 48))
            stored[block] = levels[corner]
        exif = Image.Exif()
        exif[0x0112] = orientation
        folder = tmp_path / "clip"
        folder.mkdir()
        for i in (1, 2):
            Image.fromarray(stored).convert("RGB").save(folder / f"{i}.{ending}", exif=exif)
        source = FrameFolder(folder, DataConfig())
        assert source.size == ((32, 48) if orientation < 5 else (48, 32))
        image = next(iter(source)).image
        assert image.shape[:2] == source.size
        for corner, seen in zip("abcd", SEEN_FROM_TOP_LEFT[orientation - 1], strict=True):
            assert abs(int(image[corners[corner]][0]) - levels[seen]) < 12
        if ending != "tif":  # Pillow rotates TIFF images itself
            assert bool(source.warnings) == (orientation != 1)

    def test_headers_are_read_without_decoding(self, tmp_path):
        # Pillow's getexif decodes the whole PNG if it has no EXIF data; the header of half a file is intact.
        save_frames(tmp_path, ["1.png"], 200, 300)
        cut(tmp_path / "1.png", 0.5)
        assert read_header(tmp_path / "1.png", 10**6).size == (200, 300)


class TestArrays:
    def test_lists_and_generators(self):
        pictures = [picture(i) for i in range(3)]
        for images, count in ((pictures, 3), ((p for p in pictures), None), (np.stack(pictures), 3)):
            source = ArrayFrames(images, "mine")
            assert (source.name, source.size, source.count, source.stems) == ("mine", (12, 17), count, None)
            frames = list(source)
            assert [f.name for f in frames] == ["00000", "00001", "00002"]
            assert all((f.image == p).all() for f, p in zip(frames, pictures, strict=True))
            assert isinstance(source, FrameSource)

    def test_a_generator_is_consumed_one_frame_at_a_time(self):
        taken = []

        def images():
            for i in range(100):
                taken.append(i)
                yield picture(i)

        frames = iter(ArrayFrames(images()))
        assert taken == [0]
        next(frames)
        next(frames)
        assert taken == [0, 1]
        frames.close()

    def test_reusing_a_buffer_does_not_change_earlier_frames(self):
        def images():
            buffer = np.zeros((4, 4, 3), np.uint8)
            for value in (1, 2, 3):
                buffer[:] = value
                yield buffer

        assert [int(f.image[0, 0, 0]) for f in list(ArrayFrames(images()))] == [1, 2, 3]

    def test_empty(self):
        with pytest.raises(UsageError, match="no frames"):
            ArrayFrames([])

    @pytest.mark.parametrize(
        "bad",
        [np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    )
    @pytest.mark.fault("frame arrays that are not (H, W, 3) uint8", "error states the shape and type received")
    def test_errors_for_wrong_arrays_state_shape_and_type(self, bad):
        with pytest.raises(UsageError, match=r"frame 0 must be .*got shape \(.*type"):
            ArrayFrames([bad])
        with pytest.raises(UsageError, match="frame 1 must be"):
            list(ArrayFrames([picture(), bad]))

    def test_change_of_size(self):
        with pytest.raises(VideoError, match="frame 1 is 8x9, the ones before are 17x12"):
            list(ArrayFrames([picture(), picture(0, 9, 8)]))


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="development data is not on this machine")
def test_real_folder():
    source = open_frames(SHARED / "data/multi_object/JPEGImages/ytvos_003234408d", DataConfig())
    frames = list(source)
    assert (source.size, len(frames), source.warnings) == ((180, 320), 15, [])
    assert all(30 < frame.image.mean() < 220 for frame in frames)
