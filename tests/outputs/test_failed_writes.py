"""What is left of results, old and new, if writing them fails or is interrupted."""

import errno
import resource
import subprocess
import threading
import time

import av
import numpy as np
import pytest
from written_clips import EVERYTHING, QUIET, confidence, frame, random_maps, tree, write

from xmem_infer.config import OutputConfig
from xmem_infer.errors import EnvironmentFault, UsageError, VideoError
from xmem_infer.outputs.overlay import OverlayVideo
from xmem_infer.outputs.protocol import VideoDetails
from xmem_infer.outputs.writer import VideoWriter


@pytest.mark.fault("two frames with the same name", "error, no partial result is left")
def test_two_frames_of_one_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"two frames are named 'same' .*frame 1"):
        write(tmp_path, random_maps(2, (8, 8)), names=["same", "same"])
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
@pytest.mark.fault("error in the middle of a video", "partial output is deleted, earlier results are unchanged")
def test_an_error_inside_with_removes_partial_output(tmp_path, error):
    maps = random_maps(3, (8, 8))
    write(tmp_path, maps, options=EVERYTHING)
    before = tree(tmp_path)
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), EVERYTHING)
    with pytest.raises(type(error)), writer:
        for index in range(2):
            writer.put(frame(index, (8, 8)), maps[0], {}, maps[0][None])
        raise error
    assert tree(tmp_path) == before, "an older result must stay until a new one is complete"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("write clip")]


@pytest.mark.fault("partial output left by a killed run", "it is deleted and the earlier result restored")
def test_leftovers_of_a_killed_run_are_cleaned_up(tmp_path):
    for name in ("masks/.clip.partial/00009.png", "overlay/.clip.mp4.partial", "masks/.clip.old/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left over")
    VideoWriter(VideoDetails(tmp_path, "clip"), OutputConfig()).abort()
    assert tree(tmp_path) == {"masks/clip/1.png": b"left over"}, "the old result must be restored and the rest deleted"
    write(tmp_path, random_maps(1, (8, 8)))
    assert set(tree(tmp_path)) == {"masks/clip/00000.png", "confidence/clip.csv"}


def test_a_video_without_frames_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="clip: no frame"), VideoWriter(VideoDetails(tmp_path, "clip"), QUIET):
        pass
    assert tree(tmp_path) == {}


def put_until_it_fails(output_dir, options, size=(60, 80), frames=400):
    """Write images and labels of random noise, which do not compress, until an error is raised."""
    labels = random_maps(1, size)[0]
    labels[size[0] // 2 :] = 0
    with VideoWriter(VideoDetails(output_dir, "new", fps=25), options) as writer:
        for index in range(frames):
            writer.put(frame(index, size), labels, {}, labels[None])


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
    with VideoWriter(VideoDetails(tmp_path / "out", "clip"), options) as writer:
        for index, mask in enumerate(random_maps(3, size, seed=2)):
            writer.put(frame(index, size), mask, confidence(mask))
    assert writer.failed.keys() == {"overlay"}
    assert words in str(writer.failed["overlay"])
    found = tree(tmp_path / "out")
    assert found.keys() == tree(tmp_path / "expected").keys()  # the older overlay shows other masks
    assert all(found[name] == data for name, data in tree(tmp_path / "expected").items() if name.startswith("masks"))


def test_an_error_in_the_background_reaches_the_next_put(tmp_path):
    labels = np.zeros((8, 8), np.uint8)
    writer = VideoWriter(VideoDetails(tmp_path, "clip"), QUIET)
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
        VideoWriter(VideoDetails(tmp_path, "clip"), QUIET)
