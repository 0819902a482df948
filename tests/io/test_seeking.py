"""Frames read in any order are identical to those of one sequential pass."""

import numpy as np
import pytest
from video_files import WARN, cut, damage, make_video

from xmem_infer.config import DataConfig
from xmem_infer.errors import VideoError
from xmem_infer.io.frames import IndexedFrames, open_frames
from xmem_infer.io.packet_times import DemuxedTimes, IndexedTimes

UNEVEN = [0, 20, 90, 100, 101, 240, 300, 310, 500, 520, 530, 700, 705, 800, 900, 905, 1000, 1100, 1110, 1300]
SMALL_GROUPS = {"g": "7", "keyint_min": "7", "bf": "2"}
ORDER = [13, 12, 11, 0, 19, 5, 6, 7, 1, 18, 17]

KINDS = {
    "mp4": ("v.mp4", {"options": SMALL_GROUPS}, IndexedTimes),
    "mp4 of few key frames": ("long.mp4", {}, IndexedTimes),
    "mp4 of open groups": (
        "open.mp4",
        {"options": {**SMALL_GROUPS, "x264-params": "open-gop=1:scenecut=0"}},
        IndexedTimes,
    ),
    "mp4 of uneven times": ("vfr.mp4", {"options": SMALL_GROUPS, "pts": UNEVEN}, IndexedTimes),
    "mkv": ("v.mkv", {"options": SMALL_GROUPS}, DemuxedTimes),
    "mkv of uneven times": ("vfr.mkv", {"options": SMALL_GROUPS, "pts": UNEVEN}, DemuxedTimes),
    "frames of one time": ("same.mp4", {"options": {"g": "7", "bf": "0"}, "pts": [0] * 20}, None),
    "transport stream": ("v.ts", {"options": SMALL_GROUPS}, DemuxedTimes),
    "program stream, whose packets lack times": ("v.mpg", {"codec": "mpeg2video"}, None),
    "vp9": ("v.webm", {"codec": "libvpx-vp9"}, DemuxedTimes),
    "only key frames": ("v.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, IndexedTimes),
    "vp8, with hidden frames": ("v8.webm", {"codec": "libvpx"}, None),
    "avi without times of B-frames": ("order.avi", {"options": SMALL_GROUPS}, None),
}


def assert_same(path, data=None, order=ORDER):
    data = data or DataConfig()
    expected = list(open_frames(path, data))
    frames = open_frames(path, data)
    assert isinstance(frames, IndexedFrames)
    for index in order:
        found = frames[index]
        assert (found.index, found.name) == (index, expected[index].name)
        np.testing.assert_array_equal(found.image, expected[index].image, err_msg=f"frame {index}")
        assert found.time_s == expected[index].time_s
        assert bool(found.corrupt) == bool(expected[index].corrupt)
    assert len(frames) == len(expected)
    for outside in (-1, len(expected)):
        with pytest.raises(IndexError, match="has no frame"):
            frames[outside]
    return frames


@pytest.mark.parametrize("kind", KINDS)
def test_frames_in_any_order(tmp_path, kind):
    name, options, way = KINDS[kind]
    path = make_video(tmp_path / name, frames=20, size=(48, 64), **options)
    frames = assert_same(path)
    assert type(frames._seeker._times) is (way or type(None))


def test_seeking_backwards_beyond_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("xmem_infer.io.seeking.CACHE_BYTES", 0)  # then eight frames are cached
    path = make_video(tmp_path / "v.mp4", frames=30, size=(48, 64))
    assert_same(path, order=range(29, -1, -1))


def test_damaged_frames_are_replaced(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=20, size=(48, 64), codec="mjpeg", pix_fmt="yuvj420p")
    damage(path, 7, first=0)
    assert_same(path, WARN, [8, 7, 6, 12])


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_frames_after_an_early_end_are_refused(tmp_path, name):
    start = {"movflags": "faststart"} if name == "v.mp4" else {}
    path = cut(make_video(tmp_path / name, frames=30, size=(48, 64), container_options=start), 0.6)
    found = list(open_frames(path, WARN))
    for index in (2, len(found) - 1):
        np.testing.assert_array_equal(open_frames(path, WARN)[index].image, found[index].image)
    for data in (WARN, DataConfig()):
        with pytest.raises((VideoError, IndexError), match=r"ends early|no frame 29"):
            open_frames(path, data)[29]


def test_a_file_that_ends_early(tmp_path):
    path = cut(make_video(tmp_path / "v.ts", frames=20, size=(48, 64)), 0.6)
    last = len(list(open_frames(path, WARN))) - 1
    assert_same(path, WARN, [last, 3, last - 1])


def test_opening_and_seeking_reads_only_part_of_the_file(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=200, size=(48, 64), options={"g": "10"})
    frames = open_frames(path, DataConfig())
    frames[150]
    assert 150 in frames._seeker._times._located and len(frames._seeker._times._located) <= 10
