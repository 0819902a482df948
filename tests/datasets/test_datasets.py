"""Dataset layouts: the videos found in a folder, and the errors if something is missing."""

import json
import shutil

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from xmem_infer.config import configs_dir
from xmem_infer.datasets.layouts import LAYOUTS
from xmem_infer.datasets.mask_files import find_masks
from xmem_infer.errors import UsageError
from xmem_infer.io.frames import open_frames

NAMES = sorted(path.stem for path in (configs_dir() / "dataset").glob("*.yaml"))
PROMISED = (
    "davis16_val davis17_val davis17_testdev ytvos18_valid ytvos19_valid ytvos_test long_video long_video_x3 "
    "mose_valid lvos_valid lvos_test generic"
)
FIRST = (0,)


def find(name, root, **values):
    config = trees.eval_config(name, **values)
    sizes = config.tta.sizes or [config.data.size]
    return LAYOUTS[config.dataset.layout](config.dataset, str(root), config.data, sizes)


def test_every_documented_dataset_has_a_config_and_a_unique_name():
    assert set(NAMES) == set(PROMISED.split())
    for name in NAMES:
        dataset = trees.eval_config(name).dataset
        assert dataset.name == name
        assert (dataset.zip_root is None) == (dataset.server == "")
        assert not (dataset.scored and dataset.server)


def test_settings_of_the_long_time_videos():
    for name in ("long_video", "long_video_x3"):
        config = trees.eval_config(name)
        assert (config.data.size, config.memory.memory_every) == (-1, 10)


@pytest.mark.parametrize("level", ["", "trainval"])
def test_davis17(tmp_path, make_clip, level):
    trees.davis(tmp_path / level, make_clip, ["b", "a"], "2017/val.txt")
    shutil.copytree(tmp_path / level / "JPEGImages" / "480p" / "a", tmp_path / level / "JPEGImages" / "480p" / "other")
    found = find("davis17_val", tmp_path)
    assert [item.name for item in found.videos] == ["b", "a"]  # only the listed videos, in the order of the list
    item = found.videos[0]
    assert item.path == tmp_path / level / "JPEGImages" / "480p" / "b"
    assert item.mask == item.truth == tmp_path / level / "Annotations" / "480p" / "b"
    assert (item.all_masks, item.saved, item.full_resolution, found.warnings) == (False, None, None, [])


def test_test_dev_has_its_own_level_and_is_not_scored(tmp_path, make_clip):
    trees.davis(tmp_path / "trainval", make_clip, ["a"], "2017/val.txt")
    trees.davis(tmp_path / "test-dev", make_clip, ["z"], "2017/test-dev.txt", annotated=FIRST)
    found = find("davis17_testdev", tmp_path)
    assert [(item.name, item.truth) for item in found.videos] == [("z", None)]
    assert [item.name for item in find("davis17_val", tmp_path).videos] == ["a"]


def test_davis16_by_names_or_by_pairs_of_paths(tmp_path, make_clip):
    trees.davis(tmp_path, make_clip, ["swan", "bear"], "2016/val.txt", single=True)
    assert [item.name for item in find("davis16_val", tmp_path).videos] == ["swan", "bear"]
    (tmp_path / "ImageSets" / "2016" / "val.txt").unlink()
    pairs = [
        f"/JPEGImages/480p/{video}/{t:05d}.jpg /Annotations/480p/{video}/{t:05d}.png "
        for video in ("swan", "bear")
        for t in range(trees.FRAMES)
    ]
    (tmp_path / "ImageSets" / "480p").mkdir()
    (tmp_path / "ImageSets" / "480p" / "val.txt").write_text("\r\n".join(pairs))
    assert [item.name for item in find("davis16_val", tmp_path).videos] == ["swan", "bear"]


@pytest.mark.parametrize("level", ["Full-Resolution", "1080p"])
def test_davis_at_other_sizes_reads_full_resolution(tmp_path, make_clip, level):
    levels = (("480p", (48, 64)), (level, (96, 128)))
    trees.davis(tmp_path, make_clip, ["a"], "2017/val.txt", levels=levels)
    assert find("davis17_val", tmp_path).videos[0].full_resolution is None
    for values in ({"data__size": 600}, {"tta__sizes": [480, 600]}):
        item = find("davis17_val", tmp_path, **values).videos[0]
        full = item.full_resolution
        assert (full.path, full.mask) == (tmp_path / "JPEGImages" / level / "a", tmp_path / "Annotations" / level / "a")
        assert item.path.parent.name == item.truth.parent.name == "480p"


def test_davis_at_another_size_without_full_resolution_warns(tmp_path, make_clip):
    trees.davis(tmp_path, make_clip, ["a"], "2017/val.txt")
    found = find("davis17_val", tmp_path, data__size=600)
    assert found.videos[0].full_resolution is None
    assert "JPEGImages/Full-Resolution" in found.warnings[0]


@pytest.mark.parametrize("name", ["ytvos18_valid", "ytvos19_valid", "ytvos_test"])
def test_ytvos(tmp_path, make_clip, name):
    split = "test" if name == "ytvos_test" else "valid"
    trees.ytvos(tmp_path, make_clip, ["v10", "v2"], split)
    found = find(name, tmp_path)
    assert found.warnings == []
    assert [item.name for item in found.videos] == ["v2", "v10"]
    item = found.videos[0]
    assert item.path == tmp_path / "all_frames" / f"{split}_all_frames" / "JPEGImages" / "v2"
    assert item.saved == {"00000", "00002", "00003", "00004"}
    assert item.all_masks
    assert item.new_objects_only
    assert item.truth is None


def test_a_sampled_frame_folder_is_reported(tmp_path, make_clip):
    trees.ytvos(tmp_path, make_clip, ["v"])
    whole = tmp_path / "all_frames" / "valid_all_frames" / "JPEGImages"
    shutil.move(whole, tmp_path / "valid" / "JPEGImages")
    (warning,) = find("ytvos18_valid", tmp_path).warnings
    assert "10 points" in warning
    assert str(whole) in warning
    # In the right folder, but only every fifth frame.
    trees.save_video(make_clip, whole / "v", tmp_path / "unused", annotated=(), step=5)
    assert "sampled" in find("ytvos18_valid", tmp_path).warnings[0]


def test_long_video_saves_annotated_frames(tmp_path, make_clip):
    trees.folders(tmp_path / "long_video", make_clip, ["rat"], annotated=(0, 2, 4))
    (item,) = find("long_video", tmp_path).videos
    assert item.saved == {"00000", "00002", "00004"}
    assert not item.all_masks


@pytest.mark.parametrize(
    ("name", "level"),
    [("mose_valid", "valid"), ("lvos_valid", "val"), ("lvos_test", "test"), ("long_video_x3", "long_video_x3")],
)
def test_folders(tmp_path, make_clip, name, level):
    trees.folders(tmp_path / level, make_clip, ["a", "b"])
    for root in (tmp_path, tmp_path / level):
        items = find(name, root).videos
        assert [item.name for item in items] == ["a", "b"]
        assert all(item.path.parent == tmp_path / level / "JPEGImages" for item in items)
        assert not any(item.all_masks for item in items)


def test_generic_uses_all_masks_by_default(tmp_path, make_clip):
    trees.folders(tmp_path, make_clip, ["a"])
    (item,) = find("generic", tmp_path).videos
    assert len(find_masks(item, open_frames(item.path, trees.eval_config(None).data))[0]) == trees.FRAMES
    assert not find("generic", tmp_path, data__masks="first").videos[0].all_masks


def test_the_first_mask_may_be_late_in_a_data_set(tmp_path, make_clip):
    trees.folders(tmp_path, make_clip, ["a"], annotated=(2, 3))
    (item,) = find("mose_valid", tmp_path).videos
    files, folder = find_masks(item, open_frames(item.path, trees.eval_config(None).data))
    assert files == {"00002": folder / "00002.png"}


# -- missing files --------------------------------------------------------------------------------------------


def cut(root, path):
    target = root / path
    shutil.rmtree(target) if target.is_dir() else target.unlink()


@pytest.mark.parametrize(
    ("name", "gone", "words"),
    [
        ("davis17_val", "JPEGImages", ["DAVIS-2017 val", "trainval/JPEGImages"]),
        ("davis17_val", "JPEGImages/480p", ["DAVIS-2017 val", "JPEGImages/480p"]),
        ("davis17_val", "Annotations/480p", ["DAVIS-2017 val", "Annotations/480p"]),
        ("davis17_val", "ImageSets/2017/val.txt", ["DAVIS-2017 val", "list of videos", "ImageSets/2017/val.txt"]),
        ("davis17_val", "JPEGImages/480p/b", ["DAVIS-2017 val", "frames of 1 of 2", "JPEGImages/480p/b"]),
        ("davis17_val", "Annotations/480p/b/00000.png", ["DAVIS-2017 val", "masks of 1 of 2", "Annotations/480p/b"]),
        ("ytvos19_valid", "valid/meta.json", ["YouTube-VOS 2019 valid", "valid/meta.json"]),
        ("ytvos19_valid", "valid/Annotations", ["YouTube-VOS 2019 valid", "valid/Annotations"]),
        ("ytvos19_valid", "all_frames", ["YouTube-VOS 2019 valid", "all_frames/valid_all_frames/JPEGImages"]),
        ("mose_valid", "Annotations", ["MOSE valid", "Annotations"]),
    ],
)
def test_missing_files_are_named(tmp_path, make_clip, name, gone, words):
    if name == "davis17_val":
        trees.davis(tmp_path, make_clip, ["a", "b"], "2017/val.txt", annotated=FIRST)
    elif name == "mose_valid":
        trees.folders(tmp_path, make_clip, ["a", "b"], annotated=FIRST)
    else:
        trees.ytvos(tmp_path, make_clip, ["a", "b"])
    cut(tmp_path, gone)
    with pytest.raises(UsageError) as caught:
        find(name, tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_a_meta_file_with_other_content_is_explained(tmp_path, make_clip):
    trees.ytvos(tmp_path, make_clip, ["a", "b"])
    meta = tmp_path / "valid" / "meta.json"
    content = json.loads(meta.read_text())
    del content["videos"]["b"]
    meta.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"no frames for 1 of 2 videos \(b\)"):
        find("ytvos18_valid", tmp_path)
    meta.write_text('{"clips": []}')
    with pytest.raises(UsageError, match="not what it should be"):
        find("ytvos18_valid", tmp_path)
    meta.write_text("not json")
    with pytest.raises(UsageError, match=r"meta\.json"):
        find("ytvos18_valid", tmp_path)


def test_an_invalid_data_root_is_refused(tmp_path):
    dataset = trees.eval_config("davis17_testdev").dataset
    data = trees.eval_config(None).data
    with pytest.raises(UsageError, match="test-dev/JPEGImages or JPEGImages"):
        LAYOUTS[dataset.layout](dataset, None, data, [480])
    with pytest.raises(UsageError, match="does not exist"):
        LAYOUTS[dataset.layout](dataset, str(tmp_path / "nowhere"), data, [480])


def test_an_empty_video_list_is_an_error(tmp_path, make_clip):
    trees.davis(tmp_path, make_clip, ["a"], "2017/val.txt")
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("\n \n")
    with pytest.raises(UsageError, match="is empty"):
        find("davis17_val", tmp_path)


def test_the_test_trees_resemble_the_real_datasets(tmp_path, make_clip):
    """The test trees have binary masks in DAVIS-2016 and one label per file in YouTube-VOS."""
    trees.davis(tmp_path / "d", make_clip, ["a"], "2016/val.txt", single=True)
    assert set(np.unique(Image.open(tmp_path / "d" / "Annotations" / "480p" / "a" / "00000.png"))) == {0, 255}
    trees.ytvos(tmp_path / "y", make_clip, ["a"])
    masks = tmp_path / "y" / "valid" / "Annotations" / "a"
    assert [set(np.unique(Image.open(path))) for path in sorted(masks.iterdir())] == [{0, 1}, {0, 2}]
