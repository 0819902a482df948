from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import WARN, cut, picture, save_frames
from PIL import Image

from xmem_infer.config import DataConfig
from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.io.frames import FrameFolder, FrameSource, open_frames
from xmem_infer.io.listing import natural_key, numbered_name, numbering_warnings

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


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
