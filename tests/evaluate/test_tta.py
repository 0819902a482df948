"""Test-time augmentation: several passes over one video in lock-step, and their mean."""

import itertools
import shutil

import dataset_trees as trees
import numpy as np
import pytest
import torch
from PIL import Image

from xmem_infer.evaluate.jobs import make_plan
from xmem_infer.evaluate.tracking import passes_of
from xmem_infer.ops.images import resize
from xmem_infer.predictor import Segmenter


@pytest.fixture
def davis(tmp_path, make_clip):
    levels = (("480p", (48, 64)), ("Full-Resolution", (96, 128)))
    return trees.davis(tmp_path / "davis", make_clip, ["a"], "2017/val.txt", levels=levels)


@pytest.fixture
def start(tiny_network, tmp_path):
    """start(name, root, key=value) -> config, job, segmenter."""

    def open_job(name, root, **values):
        values = {"data__size": 480, "runtime__precision": "fp32", "runtime__threads": 1, **values}
        config = trees.eval_config(name, data_root=str(root), output_dir=str(tmp_path / "out"), **values)
        segmenter = Segmenter(tiny_network, config.memory, config.runtime, config.data)
        return config, make_plan(config).videos[0], segmenter

    return open_job


def segment_video(segmenter, video, config):
    return segmenter.segment_passes(video.frames, video.masks, passes_of(video, config))


def at_size(result, size):
    """Return the probabilities (O + 1, *size), resized once from the working size."""
    return resize(result.working_prob, size).float().numpy()


def reference_passes(network, config, job, sizes, flips):
    """Run each pass separately over the whole video, on frames and masks read here, and merge the results."""
    total = None
    for size, flip in itertools.product(sizes, flips):
        seen = job.full_resolution if job.full_resolution is not None and size != 480 else job
        data = trees.eval_config(None, data__size=size).data
        frames = [frame.image for frame in seen.frames]
        mask = np.array(Image.open(next(iter(seen.masks.files.values()))))
        if flip:
            frames, mask = [frame[:, ::-1].copy() for frame in frames], mask[:, ::-1].copy()
        segmenter = Segmenter(network, config.memory, config.runtime, data)
        maps = []
        for result in segmenter.segment(frames, mask):
            prob = at_size(result, job.frames.size)
            maps.append(prob[:, :, ::-1] if flip else prob)
        total = maps if total is None else [a + b for a, b in zip(total, maps, strict=True)]
    return [one / (len(sizes) * len(flips)) for one in total]


CASES = {
    "mirrored": ({"tta__flip": True, "data__size": 48}, [48], [False, True]),
    "sizes": ({"tta__sizes": [48, 64]}, [48, 64], [False]),
    "480p and full resolution": ({"tta__sizes": [480, 64]}, [480, 64], [False]),
    "sizes, mirrored": ({"tta__sizes": [48, 64], "tta__flip": True}, [48, 64], [False, True]),
    "only mirrored": ({"tta__only_flipped": True, "data__size": 48}, [48], [True]),
    "one other size": ({"data__size": 48, "tta__sizes": [64]}, [64], [False]),
    "full resolution": ({"data__size": 64}, [64], [False]),
}


@pytest.mark.parametrize("case", CASES)
def test_passes_in_lock_step_equal_passes_one_after_the_other(start, davis, tiny_network, case):
    values, sizes, flips = CASES[case]
    compare_with_reference_passes(*start("davis17_val", davis, **values), tiny_network, sizes, flips, davis)


def test_a_tta_size_applies_with_only_one_resolution(start, davis, tiny_network):
    shutil.rmtree(davis / "JPEGImages" / "Full-Resolution")
    started = start("davis17_val", davis, tta__sizes=[64], data__size=48)
    assert started[1].full_resolution is None
    compare_with_reference_passes(*started, tiny_network, [64], [False], davis)


def compare_with_reference_passes(config, job, segmenter, tiny_network, sizes, flips, davis):
    expected = reference_passes(tiny_network, config, job, sizes, flips)
    results = list(segment_video(segmenter, job, config))
    assert [result.frame.name for result in results] == job.frames.stems
    given = np.array(Image.open(davis / "Annotations" / "480p" / "a" / "00000.png"))
    for t, (result, prob) in enumerate(zip(results, expected, strict=True)):
        assert result.frame.image.shape == (48, 64, 3)
        if t:
            np.testing.assert_allclose(result.probabilities(), prob, atol=1e-6)
        labels = given if t == 0 else np.array([0, *result.object_ids], np.uint8)[prob.argmax(0)]
        sure = np.sort(prob, 0)[-1] - np.sort(prob, 0)[-2] > 1e-5
        np.testing.assert_array_equal(result.mask[sure], labels[sure])
        assert result.given == (t == 0)


def test_passes_of_each_setting(start, davis):
    config, job, _ = start("davis17_val", davis, tta__sizes=[480, 600], tta__flip=True)
    passes = passes_of(job, config)
    assert [(one.size, one.flipped) for one in passes] == [(480, False), (600, False), (480, True), (600, True)]
    assert [one.frames is job.full_resolution.frames for one in passes] == [False, True, False, True]
    config, job, _ = start("davis17_val", davis)
    (plain,) = passes_of(job, config)
    assert plain.frames is job.frames


def test_late_objects_in_mirrored_passes(start, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v"])
    config, job, segmenter = start("ytvos18_valid", root, data__size=48, tta__flip=True)
    plain = start("ytvos18_valid", root, data__size=48)
    objects = [result.object_ids for result in segment_video(segmenter, job, config)]
    assert objects == [(1,)] * 3 + [(1, 2)] * 3
    assert objects == [result.object_ids for result in segment_video(plain[2], plain[1], plain[0])]


def test_a_symmetric_video_is_segmented_symmetrically(start, tmp_path):
    """If a flip were missing or applied twice, the mean would not be symmetric."""
    rng = np.random.default_rng(0)
    root = tmp_path / "generic"
    half = rng.integers(0, 255, (6, 48, 32, 3), np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:40, 20:44] = 1
    trees.save_mask(root / "Annotations" / "v" / "00000.png", mask)
    (root / "JPEGImages" / "v").mkdir(parents=True)
    for t, left in enumerate(half):
        Image.fromarray(np.concatenate([left, left[:, ::-1]], 1)).save(root / "JPEGImages" / "v" / f"{t:05d}.png")
    config, job, segmenter = start("generic", root, data__size=48, tta__flip=True)
    for result in segment_video(segmenter, job, config):
        prob = result.probabilities()
        np.testing.assert_allclose(prob, prob[:, :, ::-1], atol=1e-5)


def test_the_thread_count_is_restored(start, davis):
    before = torch.get_num_threads()
    config, job, segmenter = start("davis17_val", davis, data__size=48, tta__flip=True)
    for result in segment_video(segmenter, job, config):
        assert result.frame.index >= 0
        assert torch.get_num_threads() == before  # restored between results
    assert torch.get_num_threads() == before
    stopped = segment_video(segmenter, job, config)
    next(stopped)
    stopped.close()
    assert torch.get_num_threads() == before


def test_scores_of_a_given_mask_equal_the_mask(start, davis):
    config, job, segmenter = start("davis17_val", davis, data__size=48)
    results = list(segment_video(segmenter, job, config))
    scores = results[0].probabilities()
    np.testing.assert_array_equal(scores.argmax(0), results[0].mask)
    assert set(np.unique(scores)) == {0, 1}
    assert not set(np.unique(results[1].probabilities())) <= {0, 1}


def test_one_plain_pass_equals_a_plain_run(start, davis):
    shutil.rmtree(davis / "JPEGImages" / "Full-Resolution")
    config, video, segmenter = start("davis17_val", davis, data__size=48)
    (mask,) = video.masks.values()
    plain = segmenter.segment([frame.image for frame in video.frames], mask)
    for one, other in zip(segment_video(segmenter, video, config), plain, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.probabilities(), other.probabilities())


def test_mismatched_resolutions_are_refused(start, davis):
    (davis / "JPEGImages" / "Full-Resolution" / "a" / "00005.jpg").unlink()
    with pytest.raises(Exception, match="differ in frames"):
        start("davis17_val", davis, data__size=64)
    trees.save_mask(davis / "Annotations" / "Full-Resolution" / "a" / "00000.png", np.ones((96, 128), np.uint8))
    (davis / "JPEGImages" / "480p" / "a" / "00005.jpg").unlink()
    with pytest.raises(Exception, match="show objects"):
        start("davis17_val", davis, data__size=64)
