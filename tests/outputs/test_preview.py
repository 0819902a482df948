"""Contact sheets: selection and order of frames, and videos of any shape."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xmem_infer.io.atomic import Staged
from xmem_infer.outputs.preview import FRAMES, SLOTS, EvenSample, PreviewSheet
from xmem_infer.outputs.protocol import Item, VideoDetails
from xmem_infer.outputs.sheet import ACCENT, ALARM, BACKGROUND, Cell, contact_sheet
from xmem_infer.types import Frame, ObjectConfidence

CELL = Cell(np.zeros((9, 16, 3), np.uint8), "")


def chosen(frames, count):
    sample = EvenSample(count)
    for position in range(frames):
        if sample.wants(position):
            sample.add(position, CELL)
            assert len(sample.kept) <= SLOTS
    return list(sample.select(frames - 1, CELL))


@settings(max_examples=60)
@given(st.integers(1, 5000), st.booleans())
def test_a_dozen_frames_spread_evenly(frames, known):
    positions = chosen(frames, frames if known else None)
    assert positions[0] == 0
    assert positions[-1] == frames - 1
    assert positions == sorted(set(positions))
    assert len(positions) == min(frames, FRAMES)
    if frames > FRAMES:
        ideal = np.linspace(0, frames - 1, FRAMES)
        assert np.abs(positions - ideal).max() <= 0.27 * ideal[1] + 0.5  # strides of at least 2 x 11 / 48 of a gap


@settings(max_examples=40)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_wrong_frame_count_only_affects_spacing(frames, count):
    positions = chosen(frames, count)
    assert positions[0] == 0
    assert positions[-1] == frames - 1
    assert 1 <= len(positions) <= FRAMES


def sheet_of(path, frames, shape, labels=(1, 2), name="{:05d}", lost_at=()):
    height, width = shape
    preview = PreviewSheet(VideoDetails(Path(), "clip"))
    preview.staged = Staged(Path(path))
    for index in range(frames):
        image = np.full((height, width, 3), 40 + index * 200 // max(1, frames - 1), np.uint8)
        mask = np.zeros(shape, np.uint8)
        mask[: height // 4] = labels[0] if labels else 0
        confidence = {label: ObjectConfidence(1, 0.5, index in lost_at) for label in labels}
        preview.write(Item(Frame(index, name.format(index), image), mask, confidence, None))
    preview.finish()
    preview.staged.publish()
    return np.asarray(Image.open(path))


def pixels_of(sheet, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if isinstance(colour, str) else colour
    return int((sheet == np.array(rgb)).all(axis=2).sum())


def test_frames_are_in_reading_order(tmp_path):
    """Each frame has a unique grey value; those read from the sheet belong to evenly spaced frames."""
    sheet = sheet_of(tmp_path / "clip.png", 101, (90, 160), labels=())
    cells = [sheet[:, x].astype(int) for x in (28 + 100, 28 + 504, 28 + 908, 28 + 1312)]
    rows = np.flatnonzero(np.ptp(sheet[:, 128].astype(int), axis=1) == 0)  # grey pixels are inside a thumbnail
    middles = [
        int(run[len(run) // 2]) for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run) > 99
    ]
    assert len(middles) == 3
    greys = [int(cell[middle, 0]) for middle in middles for cell in cells]
    assert np.abs(np.array(greys) - (40 + np.linspace(0, 100, 12) * 2)).max() <= 6


def test_the_given_frame_the_lost_objects_and_the_legend_are_marked(tmp_path):
    sheet = sheet_of(tmp_path / "a.png", 12, (90, 160), lost_at=(5,))
    assert pixels_of(sheet, ACCENT) > 1000  # a frame around the first picture
    assert pixels_of(sheet, ALARM) > 10  # "lost: 1, 2"
    assert pixels_of(sheet, (192, 0, 0)) > 300  # the swatch of label 1
    assert pixels_of(sheet, (0, 192, 0)) > 300
    calm = sheet_of(tmp_path / "b.png", 12, (90, 160))
    assert pixels_of(calm, ALARM) == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 13])
@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (100, 100), (1, 1), (37, 900), (900, 37)])
def test_every_frame_shape_gives_a_sheet_of_limited_size(tmp_path, shape, frames):
    sheet = sheet_of(tmp_path / "clip.png", frames, shape)
    assert sheet.ndim == 3
    assert 400 <= sheet.shape[1] <= 1700
    assert 100 <= sheet.shape[0] <= 3500
    assert pixels_of(sheet, BACKGROUND) < 0.98 * sheet.shape[0] * sheet.shape[1]


@pytest.mark.parametrize("name", ["{:05d}", "Straße 猫 {}", "x" * 200 + "{}", "\udcff{}", "..", "a\nb{}"])
def test_any_name_can_be_drawn(tmp_path, name):
    assert sheet_of(tmp_path / "clip.png", 3, (40, 60), name=name).size


def test_many_labels_fit_in_the_legend(tmp_path):
    few = sheet_of(tmp_path / "a.png", 4, (90, 160), labels=range(1, 10))
    many = sheet_of(tmp_path / "b.png", 4, (90, 160), labels=range(1, 256))
    assert many.shape[1] == few.shape[1]
    assert many.shape[0] - few.shape[0] <= 150


def test_long_captions_are_shortened_at_the_start():
    """Frame names differ at the end, so the end must be visible."""
    picture = np.zeros((90, 160, 3), np.uint8)
    first, second = (np.asarray(contact_sheet([Cell(picture, "x" * 80 + end)], "t", "s", {})) for end in "17")
    assert not np.array_equal(first, second)


def test_memory_use_is_thumbnails_and_one_frame(tmp_path):
    preview = PreviewSheet(VideoDetails(tmp_path, "clip"))
    image, mask = np.zeros((270, 480, 3), np.uint8), np.zeros((270, 480), np.uint8)
    for index in range(500):
        preview.write(Item(Frame(index, str(index), image), mask, {}, np.zeros((3, 270, 480), np.uint8)))
    assert len(preview.sample.kept) <= SLOTS
    assert preview.last is not None
    assert preview.last.scores is None
    assert sum(cell.picture.nbytes for cell in preview.sample.kept.values()) < 16e6
