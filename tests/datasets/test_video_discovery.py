import os
from pathlib import Path

import numpy as np
import pytest
from frames_and_masks import AUTO, frames, image, load_first_mask, of, one, video_stand_in

from xmem_infer.datasets.discovery import find_videos
from xmem_infer.datasets.video_input import VideoInput
from xmem_infer.errors import UsageError
from xmem_infer.io.frames import open_frames

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


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
