import numpy as np
import pytest
from ablation_clip import write_clip
from PIL import Image

from xmem_infer.config import DataConfig
from xmem_infer.errors import UsageError
from xmem_infer.lab.ablation.clip import merge_parts, open_clip, with_objects


def test_the_smallest_labels_stay():
    labels = np.array([[0, 3, 7, 255]], np.uint8)
    mask, owner = with_objects(labels, 2)
    assert mask.tolist() == [[0, 3, 7, 0]]
    assert owner == {3: 3, 7: 7}


@pytest.mark.parametrize("wanted", [2, 3, 5])
def test_the_largest_is_cut_until_there_are_enough(make_clip, wanted):
    labels = make_clip(1, 48, 64, 1, seed=0)[1][0]
    mask, owner = with_objects(labels, wanted)
    assert sorted(set(np.unique(mask)) - {0}) == sorted(owner)
    assert len(owner) == wanted
    np.testing.assert_array_equal(merge_parts(mask[None], owner)[0], labels)
    areas = [np.count_nonzero(mask == label) for label in owner]
    assert max(areas) <= 2 * min(areas) + wanted


def test_parts_take_labels_that_the_mask_does_not_use():
    labels = np.array([[1, 1, 2, 2, 2, 2]], np.uint8)
    mask, owner = with_objects(labels, 3)
    assert owner == {1: 1, 2: 2, 3: 2}
    assert mask.tolist() == [[1, 1, 2, 2, 3, 3]]


def test_a_mask_too_small_to_cut_is_refused():
    with pytest.raises(UsageError, match=r"ablate\.objects=3"):
        with_objects(np.array([[1, 2]], np.uint8), 3)


def test_an_annotated_clip(tmp_path, make_clip):
    _, masks = write_clip(tmp_path, make_clip)
    clip = open_clip(str(tmp_path), None, DataConfig())
    assert (clip.name, clip.size, clip.count) == ("clip", (48, 64), 8)
    np.testing.assert_array_equal(clip.first, masks[0])
    assert sorted(clip.annotations) == list(range(8))
    assert clip.annotations[5].name == "00005.png"


def test_with_the_first_mask_only_there_is_nothing_to_score(tmp_path, make_clip):
    write_clip(tmp_path, make_clip, annotated=False)
    assert set(open_clip(str(tmp_path), None, DataConfig()).annotations) == {0}


def test_several_videos_and_empty_masks_are_refused(tmp_path, make_clip):
    write_clip(tmp_path, make_clip)
    mask = tmp_path / "Annotations" / "clip" / "00000.png"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    with pytest.raises(UsageError, match="all zero"):
        open_clip(str(tmp_path), None, DataConfig())
    (tmp_path / "JPEGImages" / "other").mkdir()
    with pytest.raises(UsageError, match=r"2 videos.*clip"):
        open_clip(str(tmp_path), None, DataConfig())
