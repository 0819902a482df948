"""The output files of one video: contents, and when they become visible."""

import csv
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from written_clips import EVERYTHING, QUIET, confidence, frame, random_maps, tree, write

from xmem_infer.config import OutputConfig
from xmem_infer.io.palette import davis_palette
from xmem_infer.outputs.files import MaskFolder
from xmem_infer.outputs.protocol import VideoDetails
from xmem_infer.outputs.writer import VideoWriter
from xmem_infer.types import Frame, ObjectConfidence

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (33, 64)])
def test_masks_are_lossless_palette_pngs(tmp_path, size):
    maps = random_maps(3, size)
    write(tmp_path, maps)
    files = sorted((tmp_path / "masks" / "clip").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    for file, labels in zip(files, maps, strict=True):
        image = Image.open(file)
        assert image.mode == "P"
        assert bytes(image.getpalette()) == davis_palette()
        assert np.array_equal(np.asarray(image), labels)


def test_the_palette_of_the_input_is_used(tmp_path):
    own = np.random.default_rng(3).integers(0, 256, 768, dtype=np.uint8).tobytes()
    write(tmp_path, random_maps(1, (8, 8)), palette=own)
    assert bytes(Image.open(tmp_path / "masks" / "clip" / "00000.png").getpalette()) == own


def test_views_and_read_only_arrays_are_accepted(tmp_path):
    labels = random_maps(1, (12, 20))[0][::2, ::-1]
    image = frame(0, (20, 6)).image.transpose(1, 0, 2)
    image.flags.writeable = False
    with VideoWriter(VideoDetails(tmp_path, "clip"), EVERYTHING) as writer:
        writer.put(Frame(0, "one", image), labels, {}, labels[None])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "clip" / "one.png")), labels)
    assert np.array_equal(np.load(tmp_path / "scores" / "clip" / "one.npz")["probabilities"], labels[None])


def test_the_whole_tree(tmp_path):
    write(tmp_path, random_maps(5, (24, 32)), options=EVERYTHING)
    names = [f"{index:05d}" for index in range(5)]
    expected = {"overlay/clip.mp4", "preview/clip.png", "confidence/clip.csv"}
    expected |= {f"masks/clip/{name}.png" for name in names} | {f"scores/clip/{name}.npz" for name in names}
    assert set(tree(tmp_path)) == expected
    with av.open(str(tmp_path / "overlay" / "clip.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 5


def test_outputs_can_be_disabled(tmp_path):
    write(tmp_path, random_maps(2, (8, 8)), options=OutputConfig(masks=False, overlay=False, preview=False))
    assert set(tree(tmp_path)) == {"confidence/clip.csv"}


def test_the_same_input_gives_the_same_bytes(tmp_path):
    """Other tests compare resumed batches byte by byte with uninterrupted ones."""
    maps = random_maps(6, (40, 50))
    write(tmp_path / "a", maps, options=EVERYTHING)
    write(tmp_path / "b", maps, options=EVERYTHING)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_confidence_has_a_row_per_frame_and_label(tmp_path):
    labels = np.zeros((4, 6), np.uint8)
    labels[0, :3] = 200
    seen = ObjectConfidence(3, 2 / 3, False, 0.125, ("jumped", "unsure"), 0.0625)
    with VideoWriter(VideoDetails(tmp_path, "clip"), QUIET) as writer:
        writer.put(frame(0, (4, 6), "a,b"), labels, confidence(labels, extra=(7,)))
        writer.put(frame(1, (4, 6), "ü"), labels, {200: seen})
    with open(tmp_path / "confidence" / "clip.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["frame", "label", "area_px", "mean_probability", "lost", "key_distance", "drift", "int8_differs"],
        ["a,b", "7", "0", "0.0000", "1", "0.0000", "", ""],
        ["a,b", "200", "3", "0.7500", "0", "0.0000", "", ""],
        ["ü", "200", "3", "0.6667", "0", "0.1250", "jumped unsure", "0.0625"],
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_scores_are_accurate_to_half_a_quantisation_step(tmp_path, dtype):
    probabilities = np.random.default_rng(0).random((3, 6, 8), np.float32)
    given = np.rint(probabilities * 255).astype(np.uint8) if dtype == np.uint8 else probabilities.astype(dtype)
    seen = {9: ObjectConfidence(1, 1.0, False), 4: ObjectConfidence(1, 1.0, False)}
    with VideoWriter(VideoDetails(tmp_path, "clip"), EVERYTHING) as writer:
        writer.put(frame(0, (6, 8)), np.zeros((6, 8), np.uint8), seen, given)
    saved = np.load(tmp_path / "scores" / "clip" / "00000.npz")
    assert saved["probabilities"].dtype == np.uint8
    assert saved["labels"].tolist() == [9, 4]
    assert (
        np.abs(saved["probabilities"] / 255 - probabilities).max() <= 0.5 / 255 + 3e-4
    )  # plus the rounding of float16


@pytest.mark.parametrize("names", [["with space", "Straße 猫"], ["1.2.3", ".hidden"], ["\udcff raw", "%d"]])
def test_frame_names_become_file_names(tmp_path, names):
    write(tmp_path, random_maps(2, (8, 10)), video="Mein Film 猫.v2", names=names, options=OutputConfig())
    found = {path.name for path in (tmp_path / "masks" / "Mein Film 猫.v2").iterdir()}
    assert found == {f"{name}.png" for name in names}
    assert (tmp_path / "overlay" / "Mein Film 猫.v2.mp4").is_file()
    assert (tmp_path / "preview" / "Mein Film 猫.v2.png").is_file()
    assert (tmp_path / "confidence" / "Mein Film 猫.v2.csv").is_file()


def test_nothing_is_visible_before_close(tmp_path):
    labels = random_maps(1, (8, 8))[0]
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), EVERYTHING)
    for index in range(4):
        writer.put(frame(index, (8, 8)), labels, {}, labels[None])
    writer.wait()
    assert all(part.startswith(".") for name in tree(tmp_path) for part in Path(name).parts[1:2])
    writer.close()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    writer.close()  # may be called twice
    with pytest.raises(RuntimeError, match="after shutdown"):
        writer.put(frame(5, (8, 8)), labels, {}, labels[None])


def test_an_older_result_is_replaced_as_a_whole(tmp_path):
    write(tmp_path, random_maps(5, (8, 8), seed=1), options=EVERYTHING)
    new = random_maps(3, (8, 8), seed=2)
    write(tmp_path, new, options=EVERYTHING)
    write(tmp_path / "fresh", new, options=EVERYTHING)
    replaced = {name: data for name, data in tree(tmp_path).items() if not name.startswith("fresh")}
    assert replaced == tree(tmp_path / "fresh")


class SlowMasks(MaskFolder):
    """A mask output that blocks until the test allows it to write."""

    def __init__(self, output_dir):
        super().__init__(VideoDetails(output_dir, "clip"))
        self.go_on = threading.Event()

    def write(self, item):
        self.go_on.wait()
        super().write(item)


def test_a_slow_disk_blocks_put(tmp_path, monkeypatch):
    """With one frame being written and QUEUE_FRAMES queued, the next put blocks, so memory is bounded."""
    monkeypatch.setattr("xmem_infer.outputs.writer.QUEUE_FRAMES", 3)
    labels = np.zeros((8, 8), np.uint8)
    slow = SlowMasks(tmp_path)
    with VideoWriter(VideoDetails(tmp_path, "clip"), QUIET) as writer:
        writer.outputs["masks"] = slow
        caller = threading.Thread(
            target=lambda: [writer.put(frame(index, (8, 8)), labels, {}) for index in range(10)], daemon=True
        )
        caller.start()
        caller.join(0.3)
        assert caller.is_alive()
        assert writer.frames == 4
        assert len(writer.unfinished) == 4
        slow.go_on.set()
        caller.join()
    assert len(list((tmp_path / "masks" / "clip").iterdir())) == 10


def test_real_masks_pass_through_unchanged(tmp_path):
    source = SHARED / "data" / "multi_object"
    if not source.is_dir():
        pytest.skip(f"real annotations are not at {source}")
    files = sorted((source / "Annotations" / "ytvos_003234408d").glob("*.png"))[:6]
    first = Image.open(files[0])
    maps = [np.array(Image.open(file)) for file in files]
    write(tmp_path, maps, "real", bytes(first.getpalette()), OutputConfig(), [file.stem for file in files])
    for file, labels in zip(files, maps, strict=True):
        saved = Image.open(tmp_path / "masks" / "real" / file.name)
        assert np.array_equal(np.asarray(saved), labels)
        assert saved.getpalette() == first.getpalette()
