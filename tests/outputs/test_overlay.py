"""Tinted images compared with a reference implementation; overlay videos read back."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from xmem_infer.errors import EnvironmentFault
from xmem_infer.io.atomic import Staged
from xmem_infer.io.opencv import opencv
from xmem_infer.io.palette import visible_colours
from xmem_infer.outputs.overlay import OverlayVideo, shrink, tint
from xmem_infer.outputs.protocol import Item, VideoDetails
from xmem_infer.outputs.video_output import even
from xmem_infer.types import Frame

COLOURS = visible_colours(None)


def reference_tint(image, labels, colours, alpha):
    """Tint by definition: the rim are pixels with another label within a diamond of radius rim_px."""
    height, width = labels.shape
    rim_px = max(1, round(min(labels.shape) / 400))
    rim = np.zeros(labels.shape, bool)
    for dy in range(-rim_px, rim_px + 1):
        for dx in range(abs(dy) - rim_px, rim_px - abs(dy) + 1):
            for_y, for_x = np.clip(np.arange(height) + dy, 0, height - 1), np.clip(np.arange(width) + dx, 0, width - 1)
            rim |= labels[np.ix_(for_y, for_x)] != labels
    shade, share = np.zeros(image.shape), np.zeros((height, width, 1))
    inside = labels > 0
    shade[inside], share[inside] = colours[labels[inside]], alpha
    lightened = (colours.astype(int) + 255) // 2
    shade[inside & rim], share[inside & rim] = lightened[labels[inside & rim]], 0.9
    shade[~inside & rim], share[~inside & rim] = 0, 0.5
    return image * (1 - share) + shade * share


@pytest.mark.parametrize(
    ("height", "width", "objects"), [(1, 1, 1), (1, 9, 2), (17, 23, 3), (60, 80, 40), (611, 640, 2)]
)
def test_tint_equals_the_reference(height, width, objects):
    rng = np.random.default_rng(height)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = np.zeros((height, width), np.uint8)
    for label in rng.choice(np.arange(1, 256), objects, replace=False):
        y, x = rng.integers(0, height), rng.integers(0, width)
        labels[y : y + height // 3 + 1, x : x + width // 3 + 1] = label
    before = image.copy()
    drawn = tint(image, labels, COLOURS)
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - reference_tint(image, labels, COLOURS, 0.45)).max() <= 0.51  # rounding
    assert np.array_equal(image, before)


def test_tint_without_objects_is_a_copy():
    image = np.full((5, 6, 3), 77, np.uint8)
    drawn = tint(image, np.zeros((5, 6), np.uint8), COLOURS)
    assert np.array_equal(drawn, image)
    assert drawn is not image


@pytest.mark.fault("OpenCV cannot be imported", "error names the packages to install")
def test_without_opencv_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)  # import cv2 then raises ImportError
    with pytest.raises(EnvironmentFault, match=r"pip install opencv-python.*libgl1.*output\.overlay=false"):
        opencv("tests need")
    with pytest.raises(EnvironmentFault, match="opencv"):
        OverlayVideo(VideoDetails(tmp_path, "a"))


def item(index, shape, time_s=None, label=1):
    height, width = shape
    image = np.full((height, width, 3), 90, np.uint8)
    labels = np.zeros(shape, np.uint8)
    labels[: height // 2] = label
    return Item(Frame(index, f"{index:05d}", image, time_s), labels, {}, None)


def record(path, shape, times, fps=None):
    video = OverlayVideo(VideoDetails(Path(), "clip", fps=fps))
    video.staged = Staged(Path(path))
    for index, time_s in enumerate(times):
        video.write(item(index, shape, time_s))
    video.finish()
    video.staged.publish()
    return path


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        return stream.codec_context, float(stream.duration * stream.time_base), frames


@pytest.mark.parametrize("shape", [(48, 64), (47, 65), (1, 1), (3, 200), (200, 3)])
def test_the_video_plays_anywhere(tmp_path, shape):
    path = record(tmp_path / "clip.mp4", shape, [None] * 7, fps=10)
    context, duration_s, frames = read(path)
    assert len(frames) == 7
    assert (context.height, context.width) == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    assert context.name == "h264"
    assert context.pix_fmt == "yuv420p"
    assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert duration_s == pytest.approx(0.7, abs=0.001)
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat"), "the index must come first, or playing waits for the end"
    assert list(tmp_path.iterdir()) == [path]


def test_colours_survive_the_encoding(tmp_path):
    """Matrix and range agree with the tags: red stays red, grey stays grey."""
    path = record(tmp_path / "clip.mp4", (64, 64), [None] * 3)
    picture = read(path)[2][0].to_ndarray(format="rgb24").astype(int)
    expected = tint(item(0, (64, 64)).frame.image, item(0, (64, 64)).mask, COLOURS).astype(int)
    for y in (10, 54):
        assert np.abs(picture[y, 32] - expected[y, 32]).max() <= 6


def stamps(path):
    return [frame.time for frame in read(path)[2]]


def test_timestamps_are_those_of_the_source_relative_to_its_start(tmp_path):
    source = [5.0, 5.04, 5.5, 5.51, 7.25]
    shown = stamps(record(tmp_path / "a.mp4", (16, 16), source, fps=25))
    assert shown == pytest.approx([t - 5 for t in source], abs=1e-4)


def test_rounding_to_the_container_time_base_does_not_accumulate(tmp_path):
    source = [index / 23.976 for index in range(1000)]
    video = OverlayVideo(VideoDetails(tmp_path, "a", fps=23.976))
    for time_s in source:
        video.last_tick = video.tick(time_s)
    assert video.last_tick == round(source[-1] * 90_000)


def test_without_timestamps_frames_are_spaced_by_fps(tmp_path):
    assert stamps(record(tmp_path / "a.mp4", (16, 16), [None] * 4, fps=8)) == pytest.approx([0, 0.125, 0.25, 0.375])
    assert stamps(record(tmp_path / "b.mp4", (16, 16), [None] * 3)) == pytest.approx([0, 1 / 24, 2 / 24])
    assert stamps(record(tmp_path / "c.mp4", (16, 16), [None] * 3, fps=29.97)) == pytest.approx(
        [0, 1 / 29.97, 2 / 29.97], abs=1e-4
    )


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.0, 0.0, 0.04], [0, 1, 2, 3]),
        ([0.2, 0.1, 0.3, 0.0], [0, 1, 6, 7]),
        ([None, 3.0, None, 3.04], [0, 1, 2, 3]),
        ([1.0, None, None, 1.2], [0, 1, 2, 5]),
        ([0.0, 0.04, 1e9, 1e9 + 0.04], [0, 1, 2, 3]),
        ([-0.5, -0.46, 0.0], [0, 1, 12.5]),
    ],
)
def test_broken_timestamps_lose_no_frame(tmp_path, times, expected):
    """`expected` counts frames of 0.04 s: plausible timestamps are used, others replaced by one frame later."""
    shown = stamps(record(tmp_path / "a.mp4", (16, 16), times, fps=25))
    assert shown == pytest.approx([count * 0.04 for count in expected], abs=1e-4)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e-9, 1e9])
def test_implausible_frame_rates_use_the_default(tmp_path, fps):
    assert stamps(record(tmp_path / "a.mp4", (16, 16), [None] * 2, fps=fps)) == pytest.approx([0, 1 / 24], abs=1e-4)


@pytest.mark.parametrize("fps", [0.1, 23.976, 59.94, 1000.0])
def test_unusual_frame_rates_are_kept(tmp_path, fps):
    assert stamps(record(tmp_path / "a.mp4", (16, 16), [None] * 2, fps=fps)) == pytest.approx([0, 1 / fps], abs=1e-4)


def test_a_single_frame_is_a_video_of_one_frame_length(tmp_path):
    _, duration_s, frames = read(record(tmp_path / "a.mp4", (30, 40), [12.0], fps=20))
    assert len(frames) == 1
    assert duration_s == pytest.approx(0.05, abs=0.001)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((1080, 1920), (1080, 1920)),
        ((2160, 3840), (1080, 1920)),
        ((3840, 2160), (1920, 1080)),
        ((1200, 1200), (1080, 1080)),
        ((100, 4000), (48, 1920)),
    ],
)
def test_large_frames_are_scaled_down_for_review(shape, shown):
    labels = np.zeros(shape, np.uint8)
    labels[: shape[0] // 2] = 200
    image, small = shrink(np.zeros((*shape, 3), np.uint8), labels)
    assert image.shape == (*shown, 3)
    assert small.shape == shown
    assert set(np.unique(small)) == {0, 200}, "labels are never interpolated"


@pytest.mark.parametrize("name", ["two words.mp4", "Straße ü 猫.mp4", "a:b%d.mp4", "50%.mp4", "#?&.mp4"])
def test_special_characters_in_names_are_literal(tmp_path, name):
    assert len(read(record(tmp_path / name, (16, 16), [None]))[2]) == 1


def test_relative_paths_with_a_colon_are_not_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(Path("http:x.mp4"), (16, 16), [None])
    assert (tmp_path / "http:x.mp4").is_file()


def test_odd_sizes_are_padded_with_the_last_row_and_column():
    picture = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    padded = even(picture)
    assert padded.shape == (4, 4, 3)
    assert np.array_equal(padded[:3, :3], picture)
    assert np.array_equal(padded[3], padded[2])
    assert np.array_equal(padded[:, 3], padded[:, 2])


def test_overlay_videos_are_deterministic(tmp_path):
    """Guards against x264's mbtree option: with it, four in ten of these files differed from the first."""
    rng = np.random.default_rng(0)
    scene = opencv("this test").resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    files, litter = set(), []
    for turn in range(40):
        video = OverlayVideo(VideoDetails(tmp_path, str(turn), fps=24))
        video.staged.prepare()
        for t in range(9):
            image = np.roll(scene, t, 1)
            labels = (np.roll(scene, 2 * t, 0)[..., 0] > 128).astype(np.uint8)
            video.write(Item(Frame(t, str(t), image), labels, {}, None))
        video.finish()
        files.add(video.staged.partial.read_bytes())
        video.discard()
        litter = [*litter[-100:], np.full(rng.integers(1, 200_000), 7, np.uint8)]
    assert len(files) == 1
