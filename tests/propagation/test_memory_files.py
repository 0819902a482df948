"""Memory saved to a file after one video and loaded for another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xmem_infer import (
    DataConfig,
    LabelMask,
    MemoryConfig,
    RuntimeConfig,
    Segmenter,
    UsageError,
    load_memory,
    remember,
    save_memory,
)
from xmem_infer.config import Precision
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.results import Pass

SMALL = MemoryConfig(memory_every=1, min_working_frames=1, max_working_frames=3, num_prototypes=8)


@pytest.fixture(params=["xmem", "cutie"])
def segmenter(request, tiny_network, tiny_cutie):
    network = tiny_network if request.param == "xmem" else tiny_cutie
    return Segmenter(network, SMALL, RuntimeConfig(precision=Precision.fp32), DataConfig(size=-1), "a" * 64)


@pytest.fixture(scope="module")
def clip(make_clip):
    images, masks = make_clip(8, 48, 64, 2, seed=3)
    return list(images), masks


def run(segmenter, state, images):
    frames = ArrayFrames(images)
    return list(segmenter.segment_passes(frames, {}, [Pass(frames, {}, -1)], states=[state]))


def filled(segmenter, clip):
    """Return a state after a few frames, with a late object and tokens in long-term memory."""
    images, masks = clip
    state, frames = segmenter.start(), ArrayFrames(images)
    one = np.where(masks[0] == 1, 1, 0).astype(np.uint8)
    given = {"00000": LabelMask(one), "00002": LabelMask(masks[2])}
    for frame in frames:
        with segmenter.running(frame.name):
            segmenter.predict(state, frame, given.get(frame.name))
    return state


def test_a_loaded_memory_reads_like_the_saved_one(segmenter, clip, tmp_path):
    state = filled(segmenter, clip)
    assert state.memory.long_term_tokens
    save_memory(tmp_path / "memory", segmenter, state)
    loaded = load_memory(tmp_path / "memory", segmenter, (48, 64))
    assert loaded.object_ids == [1, 2]
    # The reference: the original state, restarted like a loaded one.
    twin = segmenter.engine.restart(state)
    images = [image[:, ::-1].copy() for image in clip[0]]
    for found, expected in zip(run(segmenter, loaded, images), run(segmenter, twin, images), strict=True):
        # Keys are centred again, so the last digits differ.
        np.testing.assert_allclose(found.probabilities(), expected.probabilities(), atol=1e-4)


def test_a_frozen_memory_is_not_changed(segmenter, clip, tmp_path):
    save_memory(tmp_path / "memory", segmenter, filled(segmenter, clip))
    frozen = load_memory(tmp_path / "memory", segmenter, (48, 64), frozen=True)
    kept = {name: x.clone() for name, x in frozen.recalled.items()}
    run(segmenter, frozen, clip[0])
    for name, x in segmenter.engine.exported(frozen).items():
        if not name.endswith(("use", "life")):
            assert torch.equal(x, kept[name]), name


def test_references_are_saved_without_a_run(segmenter, clip, tmp_path):
    images, masks = clip
    frames = ArrayFrames(images)
    state = remember(segmenter, frames, {0: LabelMask(masks[0]), 5: LabelMask(masks[5])})
    save_memory(tmp_path / "memory", segmenter, state)
    loaded = load_memory(tmp_path / "memory", segmenter, (48, 64), frozen=True)
    results = run(segmenter, loaded, images)
    assert [result.frame.index for result in results] == list(range(8))
    assert all(result.object_ids == (1, 2) for result in results)


def test_incompatible_memory_files_are_refused(segmenter, clip, tmp_path):
    path = tmp_path / "memory"
    with pytest.raises(UsageError, match="no frame has been seen"):
        save_memory(path, segmenter, segmenter.start())
    save_memory(path, segmenter, filled(segmenter, clip))
    with pytest.raises(UsageError, match="frames of 64x48 inside the network, those of this video are 96x48"):
        load_memory(path, segmenter, (48, 96))
    segmenter.weights_sha256 = "b" * 64
    with pytest.raises(UsageError, match=r"another network or settings: weights aaaa.* there, bbbb.* now"):
        load_memory(path, segmenter, (48, 64))
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UsageError, match="is not a memory"):
        load_memory(tmp_path / "other", segmenter, (48, 64))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UsageError, match="is not a memory, or damaged"):
        load_memory(path, segmenter, (48, 64))
    with pytest.raises(UsageError, match=r"is not a file: give one that memory.save=FILE has written"):
        load_memory(tmp_path / "nowhere", segmenter, (48, 64))


def test_a_smaller_long_term_memory_is_refused(segmenter, clip, tmp_path):
    save_memory(tmp_path / "memory", segmenter, filled(segmenter, clip))
    segmenter.engine.config = replace(segmenter.engine.config, long_term=False)
    state = load_memory(tmp_path / "memory", segmenter, (48, 64))
    with pytest.raises(UsageError, match="long-term tokens, here is room for 0"):
        run(segmenter, state, clip[0])


def test_objects_are_renamed_and_removed(segmenter, clip):
    state = filled(segmenter, clip)
    segmenter.engine.rename(state, 2, 7)
    segmenter.engine.remove(state, 1)
    again = segmenter.engine.restart(state)
    assert {result.object_ids for result in run(segmenter, again, clip[0])} == {(7,)}
    for wrong, message in (((1, 3), "no object 1 to rename"), ((7, 7), "cannot become 7"), ((7, 0), "cannot become 0")):
        with pytest.raises(UsageError, match=message):
            segmenter.engine.rename(state, *wrong)


def test_an_object_is_removed_before_the_first_frame(segmenter, clip, tmp_path):
    state, results = filled(segmenter, clip), []
    save_memory(tmp_path / "both", segmenter, state)
    loaded = load_memory(tmp_path / "both", segmenter, (48, 64))
    for one in (loaded, state):
        segmenter.engine.remove(one, 1)
    save_memory(tmp_path / "one", segmenter, state)
    for one in (segmenter.engine.restart(loaded), load_memory(tmp_path / "one", segmenter, (48, 64))):
        results.append(run(segmenter, one, clip[0]))
    for found, expected in zip(*results, strict=True):
        assert found.object_ids == (2,)
        np.testing.assert_array_equal(found.probabilities(), expected.probabilities())


def test_objects_of_the_last_frame_are_saved(segmenter, clip, tmp_path):
    images, masks = clip
    state = segmenter.start()
    segmenter.predict(state, next(iter(ArrayFrames(images))), LabelMask(masks[0]), end=True)
    save_memory(tmp_path / "memory", segmenter, state)
    loaded = load_memory(tmp_path / "memory", segmenter, (48, 64))
    assert {result.object_ids for result in run(segmenter, loaded, images)} == {(1, 2)}


def test_a_correction_on_the_last_frame_is_remembered(segmenter, clip):
    images, masks = clip
    states = [segmenter.start(), segmenter.start()]
    for state, ends in zip(states, (False, True), strict=True):
        for frame in list(ArrayFrames(images))[:2]:
            segmenter.predict(state, frame, LabelMask(masks[frame.index]), end=ends and frame.index == 1)
    expected, found = map(segmenter.engine.exported, states)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert torch.equal(found[name], x), name


def test_a_frozen_memory_refuses_new_objects(segmenter, clip, tmp_path):
    save_memory(tmp_path / "memory", segmenter, filled(segmenter, clip))
    frozen = load_memory(tmp_path / "memory", segmenter, (48, 64), frozen=True)
    frame, new = next(iter(ArrayFrames(clip[0]))), LabelMask(np.where(clip[1][0] == 1, 3, 0).astype(np.uint8))
    with pytest.raises(UsageError, match=r"shows new objects \[3\], but the memory is frozen"):
        segmenter.predict(frozen, frame, new)
    assert run(segmenter, frozen, clip[0])[-1].object_ids == (1, 2)
