import numpy as np
import pytest
from frames_and_masks import ALL, AUTO, FIRST, Numbered, found, frames, image, load_first_mask, masks, of, one

from xmem_infer.datasets.video_input import VideoInput
from xmem_infer.errors import UsageError
from xmem_infer.io.array_frames import ArrayFrames


class TestMatching:
    def test_by_exact_stem(self, tmp_path):
        clip = frames(tmp_path / "clip", "a", "b", "b1")
        folder = masks(tmp_path / "m", "a", "b1")
        assert found(clip, folder) == (folder / "a.png", {"b1": folder / "b1.png"})

    def test_by_number_if_names_differ(self, tmp_path):
        clip = frames(tmp_path / "clip", "00007", "00008", "00010")
        folder = masks(tmp_path / "m", "7", "010")
        assert found(clip, folder) == (folder / "7.png", {"00010": folder / "010.png"})

    def test_not_by_number_if_ambiguous(self, tmp_path):
        clip = frames(tmp_path / "clip", "1", "01", "2")
        folder = masks(tmp_path / "m", "01", "001")
        with pytest.raises(UsageError, match=r"1 of 2 masks .* belong to no frame of clip: 001\.png"):
            found(clip, folder)

    @pytest.mark.fault("two mask files for one frame", "error names both files")
    def test_two_masks_of_one_frame(self, tmp_path):
        clip, folder = frames(tmp_path / "clip", "00001"), masks(tmp_path / "m", "1", "00001")
        with pytest.raises(UsageError, match="masks of the same frame"):
            found(clip, folder)

    @pytest.mark.fault("mask file names that match no frame", "error gives their number and the first names")
    def test_masks_that_match_no_frame(self, tmp_path):
        clip = frames(tmp_path / "clip")
        folder = masks(tmp_path / "m", "00000", "00003", "00004", "00005", "x")
        with pytest.raises(UsageError, match=r"4 of 5 masks .*: 00003\.png, 00004\.png, 00005\.png and 1 more"):
            found(clip, folder)
        assert found(clip, folder, FIRST) == (folder / "00000.png", {})

    @pytest.mark.parametrize("data", [AUTO, FIRST, ALL])
    @pytest.mark.fault("masks given, but none for the first frame", "error names the missing file")
    def test_no_mask_for_the_first_frame(self, tmp_path, data):
        clip, folder = frames(tmp_path / "clip"), masks(tmp_path / "m", "00001", "00002")
        with pytest.raises(UsageError, match=r"it would be called 00000, .*00001\.png, 00002.*say references=FOLDER"):
            found(clip, folder, data)

    def test_empty_folder(self, tmp_path):
        clip = frames(tmp_path / "JPEGImages/bear")
        (tmp_path / "Annotations/bear").mkdir(parents=True)
        with pytest.raises(UsageError, match="holds no masks for bear; it holds nothing"):
            found(clip)

    @pytest.mark.parametrize("count", [None, 11])
    def test_video_files_by_frame_number(self, tmp_path, count):
        folder = masks(tmp_path / "m", "0", "007", "00010")
        item = VideoInput("clip", tmp_path / "clip.mp4", folder, True)
        later = {"00007": folder / "007.png", "00010": folder / "00010.png"}
        assert of(item, Numbered(count)) == (folder / "0.png", later)

    def test_video_files_long_enough_for_longer_names(self, tmp_path):
        item = VideoInput("clip", tmp_path / "clip.mp4", masks(tmp_path / "m", "0", "7"), True)
        assert list(of(item, Numbered(100_001))[1]) == ["000007"]

    @pytest.mark.fault("mask numbers beyond the end of the video", "error names the files")
    def test_beyond_the_end_of_a_video_file(self, tmp_path):
        item = VideoInput("clip", tmp_path / "clip.mp4", masks(tmp_path / "m", "0", "10", "first"), True)
        with pytest.raises(UsageError, match=r"2 of 3 masks .*10\.png, first\.png"):
            of(item, Numbered(10))

    def test_video_files_count_from_zero(self, tmp_path):
        item = VideoInput("clip", tmp_path / "clip.mp4", masks(tmp_path / "m", "00001"), True)
        with pytest.raises(UsageError, match=r"it would be called 00000 \(counting from 0\)"):
            of(item, Numbered(10))

    def test_names_are_those_of_the_frames(self, tmp_path):
        pictures = [np.zeros((6, 8, 3), np.uint8)] * 3
        source = ArrayFrames(pictures, "mine")
        item = VideoInput("mine", tmp_path / "mine", masks(tmp_path / "m", "0", "2"), True)
        assert set(of(item, source)[1]) <= {frame.name for frame in source}


class TestLoading:
    def test_first_mask(self, tmp_path):
        clip, mask = frames(tmp_path / "clip"), image(tmp_path / "clip.png")
        item = one(clip)
        loaded = load_first_mask(item)
        assert loaded.ids.shape == (6, 8)
        assert loaded.source == str(mask)

    def test_size_is_checked_and_the_video_named(self, tmp_path):
        masks(tmp_path, "clip", size=(8, 7))
        item = one(frames(tmp_path / "clip"))
        with pytest.raises(UsageError, match=r"clip\.png is 8x7, the video clip is 8x6"):
            load_first_mask(item)

    @pytest.mark.fault("damaged mask for a later frame", "error before segmentation starts")
    def test_a_damaged_later_mask_is_an_error_before_work_starts(self, tmp_path):
        clip, folder = frames(tmp_path / "clip"), masks(tmp_path / "m")
        (folder / "00002.png").write_bytes(b"broken")
        with pytest.raises(UsageError, match="00002"):
            one(clip, folder).open(AUTO)
