import os
from pathlib import Path

import numpy as np
import pytest
from logs import logged
from PIL import Image

from xmem_infer.config import DataConfig, MaskPolicy
from xmem_infer.datasets.discovery import find_videos
from xmem_infer.datasets.mask_files import find_masks
from xmem_infer.datasets.video_input import VideoInput
from xmem_infer.errors import UsageError
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.io.frames import open_frames

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
AUTO, FIRST, ALL = (DataConfig(masks=policy) for policy in (MaskPolicy.auto, MaskPolicy.first, MaskPolicy.all))


def frames(folder: Path, *stems: str, size: tuple[int, int] = (8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems or ("00000", "00001", "00002"):
        Image.new("RGB", size).save(folder / f"{stem}.jpg")
    return folder


def masks(folder: Path, *stems: str, size: tuple[int, int] = (8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems or ("00000", "00001", "00002"):
        Image.new("L", size, 1).save(folder / f"{stem}.png")
    return folder


def image(path: Path) -> Path:
    masks(path.parent, path.stem)
    return path


def video_stand_in(path: Path) -> Path:
    """Create an empty file with a video's name: `find_videos` does not open the files."""
    path.write_bytes(b"\0")
    return path


class Numbered:
    """A frame source whose frames are numbered like those of a video file."""

    def __init__(self, count: int | None, size: tuple[int, int] = (6, 8)):
        self.name, self.count, self.size = "clip", count, size
        self.fps, self.stems, self.warnings = 25.0, None, []

    def __iter__(self):
        return iter(())


def one(video_dir, mask=None, data=AUTO) -> VideoInput:
    items = find_videos(str(video_dir), None if mask is None else str(mask), data)
    assert len(items) == 1
    return items[0]


def found(video_dir, mask=None, data=AUTO):
    """Return (first mask, later masks by frame name)."""
    return of(one(video_dir, mask, data))


def of(item, source=None):
    files, _ = find_masks(item, source or open_frames(item.path, AUTO))
    first, *later = files
    return files[first], {frame: files[frame] for frame in later}


def load_first_mask(item):
    video = item.open(AUTO)
    return video.masks[next(iter(video.masks))]


class TestVideos:
    def test_folder_of_frames(self, tmp_path):
        folder = frames(tmp_path / "clip.v1")
        assert one(folder) == VideoInput("clip.v1", folder, None, False)

    def test_video_file(self, tmp_path):
        path = video_stand_in(tmp_path / "my.clip.mp4")
        assert one(path) == VideoInput("my.clip", path, None, False)

    def test_dataset_in_natural_order(self, tmp_path):
        for name in ("v10", "v2", "v1"):
            frames(tmp_path / "JPEGImages" / name)
        (tmp_path / "JPEGImages" / ".cache").mkdir()
        (tmp_path / "preview.png").touch()
        items = find_videos(str(tmp_path), None, AUTO)
        assert [item.name for item in items] == ["v1", "v2", "v10"]
        assert [item.path for item in items] == [tmp_path / "JPEGImages" / n for n in ("v1", "v2", "v10")]
        assert find_videos(str(tmp_path / "JPEGImages"), None, AUTO) == items

    def test_resolution_level(self, tmp_path):
        frames(tmp_path / "JPEGImages/480p/bear")
        frames(tmp_path / "JPEGImages/480p/bus")
        for root in (tmp_path, tmp_path / "JPEGImages", tmp_path / "JPEGImages/480p"):
            assert [item.name for item in find_videos(str(root), None, AUTO)] == ["bear", "bus"]

    @pytest.mark.fault("dataset folder that contains two resolutions", "error lists the resolutions to choose from")
    def test_several_resolutions_require_a_choice(self, tmp_path):
        frames(tmp_path / "JPEGImages/480p/bear")
        frames(tmp_path / "JPEGImages/Full-Resolution/bear")
        with pytest.raises(UsageError, match=r"480p, Full-Resolution.*video_dir=.*480p"):
            find_videos(str(tmp_path), None, AUTO)
        assert len(find_videos(str(tmp_path / "JPEGImages/480p"), None, AUTO)) == 1

    @pytest.mark.fault("empty folder among the videos", "only that video fails")
    def test_an_empty_video_folder_does_not_stop_the_others(self, tmp_path):
        frames(tmp_path / "JPEGImages/a")
        (tmp_path / "JPEGImages/b").mkdir()
        items = find_videos(str(tmp_path), None, AUTO)
        assert [item.name for item in items] == ["a", "b"]
        with pytest.raises(UsageError, match="holds no images"):
            open_frames(items[1].path, AUTO)

    def test_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(frames(tmp_path / "clip"))
        assert one(".").name == "clip"

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        frames(tmp_path / "clip")
        assert one("~/clip").path == tmp_path / "clip"

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_not_set(self, nothing):
        with pytest.raises(UsageError, match=r"video_dir is not set.*video_dir=PATH.*JPEGImages"):
            find_videos(nothing, None, AUTO)

    def test_missing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=r"video_dir=nowhere does not exist .seen from .*"):
            find_videos("nowhere", None, AUTO)
        frames(tmp_path / "clip")
        with pytest.raises(UsageError, match=r"mask=nowhere\.png does not exist"):
            find_videos("clip", "nowhere.png", AUTO)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(UsageError, match="it holds nothing"):
            find_videos(str(tmp_path), None, AUTO)

    def test_a_folder_of_other_files_lists_its_content(self, tmp_path):
        frames(tmp_path / "left")
        frames(tmp_path / "right")
        video_stand_in(tmp_path / "a.mp4")
        with pytest.raises(UsageError, match=r"it holds 1 \.mp4 file, 2 folders \(left, right\)\. Give a video file"):
            find_videos(str(tmp_path), None, AUTO)

    def test_dataset_without_folders_per_video(self, tmp_path):
        frames(tmp_path / "JPEGImages")
        with pytest.raises(UsageError, match=r"no folder per video; it holds 3 \.jpg files.*video_dir=.*JPEGImages"):
            find_videos(str(tmp_path), None, AUTO)
        assert one(tmp_path / "JPEGImages").name == "JPEGImages"

    def test_single_image(self, tmp_path):
        with pytest.raises(UsageError, match="single image"):
            one(image(tmp_path / "a.png")).open(AUTO)

    @pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
    def test_unreadable_folder(self, tmp_path):
        folder = frames(tmp_path / "clip")
        folder.chmod(0)
        with pytest.raises(UsageError, match="cannot be read: Permission denied"):
            find_videos(str(folder), None, AUTO)
        folder.chmod(0o700)


class TestMaskOption:
    def test_one_image_is_the_first_mask_regardless_of_its_name(self, tmp_path):
        clip, mask = frames(tmp_path / "clip"), image(tmp_path / "elsewhere" / "00002.png")
        for data in (AUTO, FIRST, ALL):
            assert found(clip, mask, data) == (mask, {})

    @pytest.mark.fault("one mask image given for two videos", "error: one image cannot serve several videos")
    def test_one_image_for_several_videos_is_refused(self, tmp_path):
        frames(tmp_path / "JPEGImages/a")
        frames(tmp_path / "JPEGImages/b")
        with pytest.raises(UsageError, match="is one image, but video_dir means 2 videos"):
            find_videos(str(tmp_path), str(image(tmp_path / "m.png")), AUTO)

    def test_one_image_for_a_dataset_of_one_video(self, tmp_path):
        frames(tmp_path / "JPEGImages/a")
        mask = image(tmp_path / "m.png")
        assert found(tmp_path, mask) == (mask, {})

    def test_all_masks_of_a_folder_are_used_by_default(self, tmp_path):
        clip, folder = frames(tmp_path / "clip"), masks(tmp_path / "mine", "00000", "00002")
        everything = (folder / "00000.png", {"00002": folder / "00002.png"})
        assert found(clip, folder) == everything
        assert found(clip, folder, ALL) == everything
        assert found(clip, folder, FIRST) == (folder / "00000.png", {})

    def test_folder_with_a_folder_of_the_video(self, tmp_path):
        clip, folder = frames(tmp_path / "clip"), masks(tmp_path / "mine" / "clip")
        assert found(clip, tmp_path / "mine")[0] == folder / "00000.png"

    @pytest.mark.parametrize("level", ["", "480p"])
    def test_folders_for_several_videos(self, tmp_path, level):
        for name in ("a", "b"):
            frames(tmp_path / "JPEGImages" / level / name)
            masks(tmp_path / "mine" / level / name)
        items = find_videos(str(tmp_path), str(tmp_path / "mine"), AUTO)
        assert [item.mask for item in items] == [tmp_path / "mine" / level / name for name in ("a", "b")]
        assert all(item.all_masks for item in items)

    @pytest.mark.fault("mask folder without masks for one of the videos", "only that video fails")
    def test_only_the_video_without_a_mask_folder_fails(self, tmp_path):
        frames(tmp_path / "JPEGImages/a")
        frames(tmp_path / "JPEGImages/b")
        masks(tmp_path / "mine/b")
        lost, kept = find_videos(str(tmp_path), str(tmp_path / "mine"), AUTO)
        assert of(kept)[0] == tmp_path / "mine/b/00000.png"
        with pytest.raises(UsageError, match=r"mine.a does not exist"):
            load_first_mask(lost)

    def test_a_folder_without_masks(self, tmp_path):
        clip = frames(tmp_path / "clip")
        (tmp_path / "mine" / "other").mkdir(parents=True)
        with pytest.raises(UsageError, match=r"holds no masks for clip; it holds 1 folder \(other\)"):
            find_videos(str(clip), str(tmp_path / "mine"), AUTO)


class TestBeside:
    @pytest.mark.parametrize("level", ["", "480p"])
    def test_annotations_of_a_dataset(self, tmp_path, level, monkeypatch):
        clip = frames(tmp_path / "JPEGImages" / level / "bear")
        first = masks(tmp_path / "Annotations" / level / "bear") / "00000.png"
        for video_dir in (tmp_path, tmp_path / "JPEGImages", clip):
            assert found(video_dir) == (first, {})  # later annotations may be ground truth
        assert set(found(clip, None, ALL)[1]) == {"00001", "00002"}
        monkeypatch.chdir(clip)
        assert found(".")[0] == first

    @pytest.mark.fault(
        "video files inside a folder of frames", "the frames are read; a warning counts the ignored video files"
    )
    def test_videos_among_frames_are_counted(self, tmp_path):
        clip = frames(tmp_path / "clip")
        video_stand_in(clip / "film.mp4")
        with logged() as said:
            assert one(clip).path == clip
        assert said == [f"warning: {clip} is read as the frames of one video, without 1 video file that it also holds"]

    @pytest.mark.parametrize("name", ["clip.v1.png", "clip.v1_mask.png"])
    def test_image_beside_a_folder(self, tmp_path, name):
        clip, mask = frames(tmp_path / "clip.v1"), image(tmp_path / name)
        assert found(clip) == (mask, {})

    @pytest.mark.parametrize("name", ["clip.png", "clip_mask.png"])
    def test_image_beside_a_video_file(self, tmp_path, name):
        clip, mask = video_stand_in(tmp_path / "clip.mp4"), image(tmp_path / name)
        assert of(one(clip), Numbered(9)) == (mask, {})

    def test_two_candidate_images_require_a_choice(self, tmp_path):
        clip = video_stand_in(tmp_path / "clip.mp4")
        image(tmp_path / "clip.png")
        image(tmp_path / "clip_mask.png")
        with pytest.raises(UsageError, match=r"both .*clip\.png and clip_mask\.png.*mask=PATH"):
            of(one(clip), Numbered(9))

    def test_annotations_take_precedence_over_images(self, tmp_path):
        clip = frames(tmp_path / "JPEGImages/bear")
        image(tmp_path / "JPEGImages/bear.png")
        folder = masks(tmp_path / "Annotations/bear")
        assert found(clip)[0] == folder / "00000.png"

    def test_without_masks_the_error_lists_the_searched_places(self, tmp_path):
        with pytest.raises(UsageError, match=r"no mask for the first frame of clip: looked for") as caught:
            found(frames(tmp_path / "clip"))
        for words in (tmp_path / "clip.png", tmp_path / "clip_mask.png", "mask=PATH", "A mask is a PNG"):
            assert str(words) in str(caught.value)
        with pytest.raises(UsageError) as caught:
            found(frames(tmp_path / "JPEGImages/bear"))
        assert str(tmp_path / "Annotations/bear") in str(caught.value)


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


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="development data is not on this machine")
class TestReal:
    def test_davis(self):
        items = find_videos(str(SHARED / "data/davis2016_dev"), None, AUTO)
        assert [i.name for i in items][:3] == ["bmx-bumps", "bus", "car-turn"]
        for item in items[:3]:
            source = open_frames(item.path, AUTO)
            mask = load_first_mask(item)
            assert mask.ids.shape == source.size
            assert of(item, source)[1] == {}

    def test_several_objects(self):
        root = SHARED / "data/multi_object"
        items = find_videos(str(root), str(root / "Annotations"), AUTO)
        counts = {}
        for item in items:
            source = open_frames(item.path, AUTO)
            assert len(of(item, source)[1]) == source.count - 1
            counts[item.name] = len(np.unique(load_first_mask(item).ids)) - 1
        assert counts == {"schoolgirls_240p": 7, "ytvos_003234408d": 5}
