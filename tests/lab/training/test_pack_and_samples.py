"""The data: what the pack holds, what samples look like, and that the stream depends on seed and index alone."""

import multiprocessing

import cv2
import numpy as np
import pytest
import torch
from lab.training.small_pack import write_pack

from xmem_infer.errors import UsageError
from xmem_infer.lab.training.batches import batches, make_batch, stage_at
from xmem_infer.lab.training.config import Stage
from xmem_infer.lab.training.layers import Layer, occluder, pick_frames
from xmem_infer.lab.training.motion import Track, bounce, make_track, source_map, warp
from xmem_infer.lab.training.pack import Pack, decode_pack, find_regions
from xmem_infer.lab.training.scenes import make_sample

STAGES = [Stage(8, 64, 3, 4, 0.5), Stage(100, 80, 4, 2, 0.5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pack")
    return decode_pack(write_pack(root / "train.tar"), root / "cache")


@pytest.fixture(scope="module")
def pack(folder):
    return Pack(folder)


def still(frames, centre=(0.0, 0.0), scale=1.0):
    zeros = np.zeros(frames)
    return Track(np.tile(np.array(centre), (frames, 1)), zeros + scale, zeros, zeros, np.zeros((frames, 2, 5, 5)))


def test_pack_holds_the_pictures_of_the_tar(pack):
    assert len(pack.photos) == 9
    assert {name: len(frames) for name, frames in pack.clips.items()} == {(0, "davis/clip0"): 8, (0, "davis/clip1"): 8}
    picture = pack.pictures[pack.clips[0, "davis/clip0"][0]]
    assert pack.image(pack.clips[0, "davis/clip0"][0]).shape == (120, 160, 3)
    assert [region.label for region in picture.regions] == [1]
    assert abs(picture.regions[0].area - np.pi * 22**2) < 60


def test_clothes_become_one_person(pack):
    people = [i for i in pack.photos if pack.pictures[i].source == "ccp"]
    assert all(set(np.unique(pack.labels(i))) == {0, 1} for i in people)


def test_pack_is_decoded_once(folder, tmp_path):
    before = (folder / "pixels.npy").stat().st_mtime_ns
    tar = write_pack(tmp_path / "train.tar")
    assert decode_pack(tar, folder.parent) == folder
    assert (folder / "pixels.npy").stat().st_mtime_ns == before


def test_what_is_no_pack_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no file"):
        decode_pack(tmp_path / "missing.tar", tmp_path)


def test_regions_of_a_label_image():
    labels = np.zeros((100, 100), np.uint8)
    labels[10:30, 20:50] = 4
    labels[40:42, 40:42] = 5  # too small
    labels[60:, :] = 6
    first, second = find_regions(labels)
    assert (first.label, first.area, first.box, first.borders) == (4, 600, (10, 20, 30, 50), 0)
    assert (second.label, second.borders) == (6, 3)


def test_map_of_a_track_that_does_nothing_shows_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    where = source_map(still(1), 0, 64, (31.5, 31.5), 32)
    assert np.array_equal(warp(image, where), image)


def test_map_moves_by_the_track():
    image = np.zeros((64, 64), np.uint8)
    image[30:34, 30:34] = 255
    moved = warp(image, source_map(still(1, (0.5, -0.25)), 0, 64, (31.5, 31.5), 32))
    rows, columns = np.nonzero(moved)
    assert (rows.mean(), columns.mean()) == (31.5 - 8, 31.5 + 16)


def test_tracks_start_where_asked_and_stay_with_the_rng():
    tracks = [make_track(np.random.default_rng(3), 5, np.array([0.1, 0.2]), 0.5, 1.0, 1.0) for _ in range(2)]
    assert np.array_equal(tracks[0].centre[0], [0.1, 0.2])
    assert tracks[0].scale[0] == 0.5
    assert np.array_equal(tracks[0].centre, tracks[1].centre)


def test_bounce_reflects_at_the_limits():
    assert np.allclose(bounce(np.array([0.5, 1.2, -1.3, 3.1]), 1.0), [0.5, 0.8, -0.7, -0.9])


def test_picture_and_mask_of_a_layer_agree():
    red = np.zeros((32, 32, 4), np.uint8)
    red[..., 0] = 255
    red[8:24, 8:24, 3] = 255
    canvas, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    Layer([red], still(1, (0.3, 0.1), 0.8), 2, np.ones(1, bool)).draw(canvas, labels, 0)
    assert (labels == 2).sum() > 100
    assert np.array_equal(labels == 2, canvas[..., 0] > 127)


def test_clip_frames_are_in_order_forwards_or_backwards():
    clip = list(range(100, 130))
    for seed in range(30):
        chosen = np.array(pick_frames(np.random.default_rng(seed), clip, 4))
        steps = np.diff(chosen)
        assert set(chosen) <= set(clip)
        assert (steps > 0).all() or (steps < 0).all()
        assert abs(steps).max() <= 8


def test_what_is_behind_foliage_shows_through_its_gaps(pack):
    shares = []
    for seed in range(40):
        alpha = occluder(pack, np.random.default_rng(seed), 2, 1.0).sources[0][..., 3]
        outline = cv2.convexHull(np.argwhere(alpha)[:, ::-1].astype(np.int32))
        crown = cv2.fillPoly(np.zeros_like(alpha), [outline], 1) > 0
        shares.append((alpha[crown] == 0).mean())
    solid, porous = (np.array([low <= share < high for share in shares]) for low, high in ((0, 0.1), (0.3, 0.8)))
    assert (solid | porous).all() and solid.sum() > 10 and porous.sum() > 5


@pytest.mark.parametrize("objects", [1, 2])
def test_samples_show_their_objects(pack, objects):
    shown = []
    for seed in range(40):
        sample = make_sample(pack, np.random.default_rng(seed), 64, 3, 0.3, objects)
        assert sample.images.shape == (3, 64, 64, 3)
        assert sample.labels.shape == (3, 64, 64)
        assert sample.images.dtype == sample.labels.dtype == np.uint8
        assert set(np.unique(sample.labels)) <= set(range(objects + 1))
        shown.append(set(np.unique(sample.labels[0])) >= set(range(1, objects + 1)))
    assert np.mean(shown) > 0.85


def test_the_stream_depends_on_seed_and_index_alone(pack):
    again = [make_batch(pack, STAGES, 1, 4) for _ in range(2)]
    other = make_batch(pack, STAGES, 2, 4), make_batch(pack, STAGES, 1, 0)
    assert torch.equal(again[0].images, again[1].images)
    assert torch.equal(again[0].labels, again[1].labels)
    assert not any(torch.equal(again[0].images, batch.images) for batch in other)


def test_stages_follow_one_another():
    assert [stage_at(STAGES, seen).size for seen in (0, 7, 8, 99, 1000)] == [64, 64, 80, 80, 80]


@pytest.mark.slow
def test_two_workers_give_the_same_stream_as_none(folder):
    streams = [batches([folder], STAGES, 3, 0, workers) for workers in (0, 2)]
    for _ in range(4):
        ours, theirs = (next(stream) for stream in streams)
        assert ours.start == theirs.start
        assert torch.equal(ours.images, theirs.images)


@pytest.mark.slow
def test_a_closed_stream_leaves_no_process(folder):
    before = set(multiprocessing.active_children())
    stream = batches([folder], STAGES, 3, 0, workers=1)
    next(stream)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 1
    stream.close()
    assert not started & set(multiprocessing.active_children())
