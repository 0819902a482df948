import pytest
from frames_and_masks import (
    ALL,
    AUTO,
    FIRST,
    Numbered,
    found,
    frames,
    image,
    load_first_mask,
    masks,
    of,
    one,
    video_stand_in,
)
from logs import logged

from xmem_infer.datasets.discovery import find_videos
from xmem_infer.errors import UsageError


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
        with pytest.raises(UsageError, match=r"mine.a cannot be read: No such file"):
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
