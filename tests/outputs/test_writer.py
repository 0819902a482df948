"""The output files of one video: contents, and behaviour on errors."""

import csv
import errno
import resource
import subprocess
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from xmem_infer.config import OutputConfig
from xmem_infer.errors import EnvironmentFault, UsageError, VideoError
from xmem_infer.io.palette import davis_palette
from xmem_infer.outputs.files import MaskFolder
from xmem_infer.outputs.overlay import OverlayVideo
from xmem_infer.outputs.protocol import OUTPUTS, Output, VideoDetails
from xmem_infer.outputs.writer import VideoWriter, chosen_outputs
from xmem_infer.types import Frame, ObjectConfidence

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
QUIET = OutputConfig(overlay=False, preview=False)
EVERYTHING = OutputConfig(scores=True)


def frame(index, size, name=None, time_s=None):
    image = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Frame(index, f"{index:05d}" if name is None else name, image, time_s)


def confidence(labels, extra=()):
    """Return the confidence of every label of the map, and of the lost objects in `extra`."""
    present = [int(label) for label in np.unique(labels) if label]
    found = {label: ObjectConfidence(int((labels == label).sum()), 0.75, False) for label in present}
    return found | {label: ObjectConfidence(0, 0.0, True) for label in extra}


def write(output_dir, label_maps, video="clip", palette=None, options=QUIET, names=None):
    size = label_maps[0].shape
    with VideoWriter(VideoDetails(output_dir, video, palette, 25.0, len(label_maps)), size, options) as writer:
        for index, labels in enumerate(label_maps):
            seen = confidence(labels)
            scores = np.stack([labels == label for label in (0, *seen)]).astype(np.float32)
            writer.put(frame(index, size, names and names[index]), labels, seen, scores)


def random_maps(count, size, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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
    with VideoWriter(VideoDetails(tmp_path, "clip"), (6, 20), EVERYTHING) as writer:
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
    with VideoWriter(VideoDetails(tmp_path, "clip"), (4, 6), QUIET) as writer:
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
    with VideoWriter(VideoDetails(tmp_path, "clip"), (6, 8), EVERYTHING) as writer:
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


@pytest.mark.fault("two frames with the same name", "error, no partial result is left")
def test_two_frames_of_one_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"two frames are named 'same' .*frame 1"):
        write(tmp_path, random_maps(2, (8, 8)), names=["same", "same"])
    assert tree(tmp_path) == {}


def test_nothing_is_visible_before_close(tmp_path):
    labels = random_maps(1, (8, 8))[0]
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), EVERYTHING)
    for index in range(4):
        writer.put(frame(index, (8, 8)), labels, {}, labels[None])
    while not writer.items.empty():
        time.sleep(0.01)
    assert all(part.startswith(".") for name in tree(tmp_path) for part in Path(name).parts[1:2])
    writer.close()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    writer.close()  # may be called twice
    with pytest.raises(RuntimeError, match="closed"):
        writer.put(frame(5, (8, 8)), labels, {}, labels[None])


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
@pytest.mark.fault("error in the middle of a video", "partial output is deleted, earlier results are unchanged")
def test_an_error_inside_with_removes_partial_output(tmp_path, error):
    maps = random_maps(3, (8, 8))
    write(tmp_path, maps, options=EVERYTHING)
    before = tree(tmp_path)
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), EVERYTHING)
    with pytest.raises(type(error)), writer:
        for index in range(2):
            writer.put(frame(index, (8, 8)), maps[0], {}, maps[0][None])
        raise error
    assert tree(tmp_path) == before, "an older result must stay until a new one is complete"
    assert not writer.thread.is_alive()


def test_an_older_result_is_replaced_as_a_whole(tmp_path):
    write(tmp_path, random_maps(5, (8, 8), seed=1), options=EVERYTHING)
    new = random_maps(3, (8, 8), seed=2)
    write(tmp_path, new, options=EVERYTHING)
    write(tmp_path / "fresh", new, options=EVERYTHING)
    replaced = {name: data for name, data in tree(tmp_path).items() if not name.startswith("fresh")}
    assert replaced == tree(tmp_path / "fresh")


@pytest.mark.fault("partial output left by a killed run", "it is deleted and the earlier result restored")
def test_leftovers_of_a_killed_run_are_cleaned_up(tmp_path):
    for name in ("masks/.clip.partial/00009.png", "overlay/.clip.mp4.partial", "masks/.clip.old/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left over")
    VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), OutputConfig()).abort()
    assert tree(tmp_path) == {"masks/clip/1.png": b"left over"}, "the old result must be restored and the rest deleted"
    write(tmp_path, random_maps(1, (8, 8)))
    assert set(tree(tmp_path)) == {"masks/clip/00000.png", "confidence/clip.csv"}


def test_a_video_without_frames_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="clip: no frame"), VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), QUIET):
        pass
    assert tree(tmp_path) == {}


def test_wrong_arrays_are_refused(tmp_path):
    labels = np.zeros((8, 9), np.uint8)
    with VideoWriter(VideoDetails(tmp_path, "clip"), (8, 9), EVERYTHING) as writer:
        good = frame(0, (8, 9))
        for bad in (labels.T, labels.astype(np.int64), labels[None]):
            with pytest.raises(ValueError, match=r"mask must be uint8 \(8, 9\)"):
                writer.put(good, bad, {}, labels[None])
        with pytest.raises(ValueError, match="image of frame 00000 must be uint8"):
            writer.put(frame(0, (9, 9)), labels, {}, labels[None])
        for scores in (None, np.zeros((2, 8, 9), np.uint8)):
            with pytest.raises(ValueError, match=r"scores of shape \(1, 8, 9\)"):
                writer.put(good, labels, {}, scores)
        writer.put(good, labels, {}, labels[None])
    assert len(list((tmp_path / "masks" / "clip").iterdir())) == 1


class SlowMasks(MaskFolder):
    """A mask output that blocks until the test allows it to write."""

    def __init__(self, output_dir):
        super().__init__(VideoDetails(output_dir, "clip"))
        self.go_on = threading.Event()

    def write(self, item):
        self.go_on.wait()
        super().write(item)


def test_a_slow_disk_blocks_put(tmp_path):
    """With one frame being written and `queue_frames` queued, the next put blocks, so memory is bounded."""
    labels = np.zeros((8, 8), np.uint8)
    slow = SlowMasks(tmp_path)
    with VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), QUIET, queue_frames=3) as writer:
        writer.outputs["masks"] = slow
        caller = threading.Thread(
            target=lambda: [writer.put(frame(index, (8, 8)), labels, {}) for index in range(10)], daemon=True
        )
        caller.start()
        caller.join(0.3)
        assert caller.is_alive()
        assert writer.frames == 4
        assert writer.items.qsize() == 3
        slow.go_on.set()
        caller.join()
    assert len(list((tmp_path / "masks" / "clip").iterdir())) == 10


def put_until_it_fails(output_dir, options, size=(60, 80), frames=400):
    """Write images and labels of random noise, which do not compress, until an error is raised."""
    labels = random_maps(1, size)[0]
    labels[size[0] // 2 :] = 0
    with VideoWriter(VideoDetails(output_dir, "new", fps=25), size, options) as writer:
        for index in range(frames):
            writer.put(frame(index, size), labels, {}, labels[None])


class Areas(Output):
    """A plugin output: a text file with the share of the background, computed from the scores."""

    path = "areas/{video}.txt"
    needs_scores = True

    def __init__(self, video):
        super().__init__(video)
        self.lines = []

    def write(self, item):
        self.lines.append(f"{item.frame.name} {item.scores[0].mean() / 255:.3f}")

    def finish(self):
        self.staged.partial.write_text("\n".join(self.lines))


@pytest.fixture
def areas(monkeypatch):
    """The output registered for one test."""
    monkeypatch.setitem(OUTPUTS._entries, "areas", Areas)
    return OutputConfig(overlay=False, preview=False, also=["areas"])


def test_a_registered_output_is_written(tmp_path, areas):
    maps = [np.array([[0, 0, 0, 3]], np.uint8)] * 2
    write(tmp_path, maps, options=areas)
    assert set(tree(tmp_path)) == {
        "masks/clip/00000.png",
        "masks/clip/00001.png",
        "confidence/clip.csv",
        "areas/clip.txt",
    }
    assert (tmp_path / "areas" / "clip.txt").read_text() == "00000 0.750\n00001 0.750"
    video = VideoDetails(tmp_path, "x")
    with pytest.raises(ValueError, match="needs scores"), VideoWriter(video, (1, 4), areas) as writer:
        writer.put(frame(0, (1, 4)), maps[0], {})
    assert not (tmp_path / "areas" / "x.txt").exists()


def test_a_failing_registered_output_discards_all_outputs(tmp_path, areas, monkeypatch):
    def refuse(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Areas, "finish", refuse)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*areas.clip.txt: No space left"):
        write(tmp_path, random_maps(2, (8, 8)), options=areas)
    assert tree(tmp_path) == {}


def test_an_unregistered_output_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"output.also=mask: .* masks"):
        write(tmp_path, random_maps(1, (8, 8)), options=OutputConfig(also=["mask"]))


def test_an_output_listed_twice_is_written_once():
    assert chosen_outputs(OutputConfig(also=["masks", "overlay"])) == ["overlay", "preview", "confidence", "masks"]


@pytest.mark.parametrize("options", [QUIET, OutputConfig(masks=False, preview=False)], ids=["masks", "overlay"])
@pytest.mark.fault("disk full while results are written", "error, finished videos are unchanged")
def test_a_full_disk_is_reported_and_finished_videos_are_kept(tmp_path, options):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        write(tmp_path, random_maps(2, (8, 8)), video="finished")
        before = tree(tmp_path)
        with pytest.raises(EnvironmentFault, match=r"cannot write .*new.*: No space left on device; free some space"):
            put_until_it_fails(tmp_path, options)
        assert tree(tmp_path) == before
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (QUIET, 3_000),
        (OutputConfig(masks=False, preview=False), 30_000),
        (OutputConfig(masks=False, overlay=False), 20_000),
    ],
    ids=["masks", "overlay", "preview"],
)
@pytest.mark.fault("file size limit (`ulimit -f`) reached", "error names the limit, finished videos are unchanged")
def test_a_file_size_limit_is_reported(tmp_path, options, limit):
    """Like a full disk, with EFBIG instead of ENOSPC; needs no root rights."""
    write(tmp_path, random_maps(2, (8, 8)), video="finished")
    before = tree(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # Python ignores SIGXFSZ
        with pytest.raises(EnvironmentFault, match=r"cannot write .*new.*: File too large; .*ulimit -f"):
            put_until_it_fails(tmp_path, options, frames=60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        ("write", OSError(errno.ENOSPC, "No space left on device"), "clip.mp4: No space left on device; free some"),
        ("finish", OSError(errno.ENOSPC, "No space left on device"), "clip.mp4: No space left on device; free some"),
        ("write", av.error.ExternalError(1, "failed"), "clip.mp4 cannot be encoded ([Errno 1] failed); output.overlay"),
    ],
    ids=["written", "finished", "encoded"],
)
def test_the_masks_survive_an_overlay_that_fails(tmp_path, monkeypatch, step, error, words):
    options, size = OutputConfig(), (8, 8)
    write(tmp_path / "expected", random_maps(3, size, seed=2), options=OutputConfig(overlay=False))
    write(tmp_path / "out", random_maps(5, size, seed=1), options=options)

    def refuse(self, *item):
        raise error

    monkeypatch.setattr(OverlayVideo, step, refuse)
    with VideoWriter(VideoDetails(tmp_path / "out", "clip"), size, options) as writer:
        for index, mask in enumerate(random_maps(3, size, seed=2)):
            writer.put(frame(index, size), mask, confidence(mask))
    assert writer.failed.keys() == {"overlay"}
    assert words in str(writer.failed["overlay"])
    found = tree(tmp_path / "out")
    assert found.keys() == tree(tmp_path / "expected").keys()  # the older overlay shows other masks
    assert all(found[name] == data for name, data in tree(tmp_path / "expected").items() if name.startswith("masks"))


def test_an_error_in_the_background_reaches_the_next_put(tmp_path):
    labels = np.zeros((8, 8), np.uint8)
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), QUIET)
    writer.put(frame(0, (8, 8), "no/such/folder"), labels, {})
    with pytest.raises(EnvironmentFault, match="No such file"):
        for index in range(1, 100):
            writer.put(frame(index, (8, 8)), labels, {})
            time.sleep(0.01)
    with pytest.raises(EnvironmentFault, match="No such file"):
        writer.close()
    assert tree(tmp_path) == {}


def test_an_output_that_cannot_be_created_is_reported_at_once(tmp_path):
    (tmp_path / "masks").write_text("a file where a folder should be")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*masks.clip: .*File exists"):
        VideoWriter(VideoDetails(tmp_path, "clip"), (8, 8), QUIET)


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
