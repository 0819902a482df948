"""`scripts/eval.py` as users run it: exit codes, messages, output files."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from commands import ROOT, as_process, begun, in_process
from PIL import Image
from safetensors.torch import load_file, save_file

from xmem_infer.runtime.cores import usable_cores


@pytest.fixture
def run(tmp_path, tiny_weights):
    """run(key=value, ...) -> the finished command with small frames, a small network and one thread.

    Runs in this process; by=begun starts a process and returns at once, by=as_process waits for its end.
    """

    def start(*overrides, weights=tiny_weights, size=-1, by=in_process):
        arguments = [f"weights={weights}", f"data.size={size}", "runtime.threads=1", "runtime.precision=fp32"]
        given = {override.partition("=")[0] for override in overrides}
        arguments = [argument for argument in arguments if argument.partition("=")[0] not in given]
        return by("eval.py", *arguments, *overrides, cwd=tmp_path)

    return start


def write_clip(folder, make_clip, frames=6, size=(48, 64), objects=2, suffix=".png", seed=0):
    """Write frames 0, 1, ... to `folder`, and the mask of the first frame next to the folder."""
    images, masks = make_clip(frames, *size, objects, seed=seed)
    folder.mkdir(parents=True)
    for t, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{t}{suffix}")
    Image.fromarray(masks[0]).save(folder.with_name(f"{folder.name}.png"))
    return images, masks


@pytest.fixture
def clip(tmp_path, make_clip):
    write_clip(tmp_path / "clip", make_clip, frames=12)
    return tmp_path / "clip"


def tree(folder):
    """Content hashes of all files below a folder, run.json (times) and the lock left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }


def test_a_folder_of_frames(run, clip, tmp_path):
    done = run(f"video_dir={clip}", "output_dir=out")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    masks = sorted((out / "masks" / "clip").iterdir(), key=lambda path: int(path.stem))
    assert [path.name for path in masks] == [f"{t}.png" for t in range(12)]
    first = Image.open(clip.with_name("clip.png"))
    for path in masks:
        with Image.open(path) as mask:
            assert (mask.mode, mask.size) == ("P", (64, 48))
            assert set(np.unique(mask)) <= {0, 1, 2}
    np.testing.assert_array_equal(np.array(Image.open(masks[0])), np.array(first))
    assert (out / "overlay" / "clip.mp4").stat().st_size > 0
    assert Image.open(out / "preview" / "clip.png").size[0] > 300
    rows = list(csv.DictReader((out / "confidence" / "clip.csv").open()))
    assert len(rows) == 12 * 2
    report = json.loads((out / "run.json").read_text())
    assert report["videos"]["clip"]["frames"] == 12
    assert set(report["videos"]["clip"]["stages"]) == {"read", "upload", "segment", "post", "write"}
    assert report["config"]["memory"]["top_k"] == 30
    assert report["precision"]["used"] == "fp32"
    assert report["videos"]["clip"]["published_fps"] >= report["videos"]["clip"]["end_to_end_fps"]
    assert len(report["weights"]["sha256"]) == 64


def test_it_runs_from_anywhere_with_defaults(run, clip, tmp_path):
    done = run(f"video_dir={clip}", "output.overlay=false", "output.preview=false", by=as_process)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "output" / "clip" / "masks" / "clip").iterdir())) == 12
    assert {path.name for path in (tmp_path / "output" / "clip").iterdir()} == {
        "masks", "confidence", "records", "run.json",
    }  # fmt: skip
    assert not (tmp_path / "outputs").exists()  # Hydra's own folders


@pytest.mark.fault("one damaged video in a batch", "exit code 1, the other videos are completed")
def test_a_batch_continues_if_one_video_fails(run, tmp_path, make_clip):
    root = tmp_path / "set"
    for name in ("a", "b", "c"):
        _, masks = write_clip(root / "JPEGImages" / name, make_clip, frames=3)
        (root / "JPEGImages" / f"{name}.png").unlink()
        (root / "Annotations" / name).mkdir(parents=True)
        Image.fromarray(masks[0]).save(root / "Annotations" / name / "0.png")
    damaged = root / "JPEGImages" / "b" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    done = run(f"video_dir={root}", "output_dir=out")
    assert done.returncode == 1
    assert "b" in done.stderr
    assert "1.png" in done.stderr
    out = tmp_path / "out"
    assert {path.name for path in (out / "masks").iterdir()} == {"a", "c"}
    report = json.loads((out / "run.json").read_text())
    assert {name: entry["status"] for name, entry in report["videos"].items()} == {
        "a": "done", "b": "failed", "c": "done",
    }  # fmt: skip
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(damaged)
    again = run(f"video_dir={root}", "output_dir=out")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already done") == 2
    assert {path.name for path in (out / "masks").iterdir()} == {"a", "b", "c"}


@pytest.mark.fault("same output folder with different settings", "exit code 2 unless `overwrite=true`")
def test_rerunning_into_an_existing_output_folder(run, clip, tmp_path):
    assert run(f"video_dir={clip}", "output_dir=out").returncode == 0
    before = tree(tmp_path / "out")
    again = run(f"video_dir={clip}", "output_dir=out")
    assert (again.returncode, "already done" in again.stderr) == (0, True)
    other = run(f"video_dir={clip}", "output_dir=out", "memory.top_k=5")
    assert other.returncode == 2
    assert "memory.top_k: 30 there, 5 now" in other.stderr
    assert tree(tmp_path / "out") == before
    replaced = run(f"video_dir={clip}", "output_dir=out", "memory.top_k=5", "overwrite=true")
    assert replaced.returncode == 0, replaced.stderr
    assert json.loads((tmp_path / "out" / "records" / "clip.json").read_text())["settings"]["memory.top_k"] == 5


def test_output_keeps_labels_and_palette_of_the_input(run, tmp_path, make_clip):
    write_clip(tmp_path / "clip", make_clip)
    labels = np.zeros((48, 64), np.uint8)
    labels[5:30, 5:25], labels[20:44, 30:60] = 7, 255
    palette = [value for index in range(256) for value in (index, 255 - index, 7)]
    mask = Image.fromarray(labels)
    mask.putpalette(palette)
    mask.save(tmp_path / "first.png")
    done = run(f"video_dir={tmp_path / 'clip'}", f"mask={tmp_path / 'first.png'}", "output_dir=out")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "out" / "masks" / "clip").iterdir():
        with Image.open(path) as saved:
            assert saved.getpalette() == palette
            assert set(np.unique(saved)) <= {0, 7, 255}


def test_scores_and_single_outputs(run, clip, tmp_path):
    done = run(f"video_dir={clip}", "output_dir=out", "output.scores=true", "output.overlay=false")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "scores" / "clip").iterdir())) == 12
    assert not (tmp_path / "out" / "overlay").exists()


def test_bf16_and_every_grad_mode_run(run, clip, tmp_path):
    hashes = set()
    for mode in ("set_grad_enabled", "inference_mode", "enable_grad_detached"):
        settings = f"runtime.grad_mode={mode}", "runtime.variant=eager", "runtime.precision=bf16"
        done = run(f"video_dir={clip}", f"output_dir={mode}", *settings)
        assert done.returncode == 0, done.stderr
        hashes.add(tuple(tree(tmp_path / mode / "masks").items()))
    assert len(hashes) == 1


def write_video(path, images):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_a_video_file_with_later_masks(run, tmp_path, make_clip):
    """Frames are named by number; the mask folder has a late object and a correction."""
    images, masks = make_clip(10, 48, 64, 2, seed=0)
    write_video(tmp_path / "film.mp4", images)
    given = tmp_path / "given"
    given.mkdir()
    Image.fromarray(np.where(masks[0] == 1, 1, 0).astype(np.uint8)).save(given / "0.png")
    late = np.where(masks[3] == 2, 9, 0).astype(np.uint8)
    Image.fromarray(late).save(given / "3.png")
    correction = np.choose(masks[7], [0, 1, 9]).astype(np.uint8)
    Image.fromarray(correction).save(given / "7.png")
    done = run("video_dir=film.mp4", "mask=given", "output_dir=out")
    assert done.returncode == 0, done.stderr
    found = [np.array(Image.open(tmp_path / f"out/masks/film/{t:05d}.png")) for t in range(10)]
    assert not any((labels == 9).any() for labels in found[:3])
    assert (found[3][late == 9] == 9).all()
    np.testing.assert_array_equal(found[7], correction)
    assert json.loads((tmp_path / "out/run.json").read_text())["videos"]["film"]["objects"] == [1, 9]


def test_unpainted_objects_are_kept_unless_corrections_are_complete(run, tmp_path):
    """The example clip with a second, static object; the correction at frame 5 paints only the second one."""
    frames = ROOT / "examples" / "clip" / "JPEGImages" / "scene"
    first = ROOT / "examples" / "clip" / "Annotations" / "scene" / "00000.png"
    (tmp_path / "given").mkdir()
    (tmp_path / "film").mkdir()
    for path in sorted(frames.iterdir())[:7]:
        shutil.copy(path, tmp_path / "film")
    labels = (np.array(Image.open(first)) > 0).astype(np.uint8)
    labels[:20, :20] = 2
    fifth = sorted((tmp_path / "film").iterdir())[5].stem
    Image.fromarray(labels).save(tmp_path / "given" / first.name)
    Image.fromarray(np.where(labels == 2, labels, 0)).save(tmp_path / "given" / f"{fifth}.png")
    left = {}
    for complete in ("null", "true"):
        done = run("video_dir=film", "mask=given", f"output_dir=out-{complete}", f"data.complete_masks={complete}",
                   f"weights={ROOT / 'weights' / 'xmem-tiny.safetensors'}", "data.size=160")  # fmt: skip
        assert done.returncode == 0, done.stderr
        left[complete] = (
            np.array(Image.open(tmp_path / f"out-{complete}" / "masks" / "film" / f"{fifth}.png")) == 1
        ).sum()
    assert left["null"] > 0.5 * (labels == 1).sum()
    assert left["true"] == 0


@pytest.mark.fault("video file truncated", "exit code 1, no result; with `data.on_corrupt=warn` recorded as incomplete")
def test_a_truncated_video_is_never_reported_as_complete(run, tmp_path, make_clip):
    images, masks = make_clip(40, 48, 64, 2, seed=0)
    write_video(tmp_path / "film.mkv", images)
    Image.fromarray(masks[0]).save(tmp_path / "film.png")
    content = (tmp_path / "film.mkv").read_bytes()
    (tmp_path / "film.mkv").write_bytes(content[: len(content) * 2 // 3])
    failed = run("video_dir=film.mkv", "output_dir=out")
    assert failed.returncode == 1
    assert "ends early" in failed.stderr
    assert not (tmp_path / "out/masks/film").exists()
    taken = run("video_dir=film.mkv", "output_dir=out", "data.on_corrupt=warn")
    assert taken.returncode == 0, taken.stderr
    assert "ends early" in taken.stderr
    entry = json.loads((tmp_path / "out/run.json").read_text())["videos"]["film"]
    assert entry["status"] == "incomplete"
    assert entry["frames"] == len(list((tmp_path / "out/masks/film").iterdir())) < 40


# -- bad requests: rc 2, said, nothing created ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], ["video_dir"]),
        (["video_dir=nowhere/at_all"], ["nowhere/at_all"]),
        (["video_dir=empty"], ["empty"]),
        (["video_dir=texts"], ["texts", "1 .txt file", "JPEGImages"]),
        (["video_dir=clip", "memory.topk=3"], ["memory.topk", "memory.top_k", "memory_every"]),
        (["video_dir=clip", "memroy.top_k=3"], ["memroy", "memory"]),
        (["video_dir=clip", "runtime.precision=fp8"], ["fp8", "bf16"]),
        (["video_dir=clip", "runtime.grad_mode=off"], ["off", "inference_mode"]),
        (["video_dir=clip", "memory=unknown"], ["unknown", "xmem"]),
        (["video_dir=clip", "memory.top_k=many"], ["top_k", "many"]),
        (["video_dir=clip", "memory.top_k=0"], ["memory.top_k=0", "at least 1"]),
        (["video_dir=clip", "memory.max_working_frames=5"], ["max_working_frames", "more than"]),
        (["video_dir=clip", "data.size=3"], ["data.size=3"]),
        (["video_dir=clip", "runtime.precision=tf32", "runtime.device=cpu"], ["tf32", "NVIDIA"]),
        (["video_dir=clip", "mask=missing.png"], ["missing.png"]),
    ],
)
@pytest.mark.fault("`eval.py {overrides}`", "exit code 2 before any work, error names the cause, no output folder")
def test_bad_requests(run, clip, tmp_path, overrides, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    done = run(*overrides, "output_dir=out")
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def smoothed(labels, channels=None):
    picture = labels * 120 if channels is None else np.stack([labels.astype(int) * c % 256 for c in channels], 2)
    return Image.fromarray(picture.astype(np.uint8)).resize((48, 36)).resize((64, 48), Image.Resampling.BICUBIC)


MASKS = {
    "another size": (lambda labels: Image.fromarray(labels[:40]), ["64x48", "64x40"]),
    "soft colours": (lambda labels: smoothed(labels, (77, 30, -60)), ["smooth"]),
    "with transparency": (lambda labels: Image.fromarray(np.stack([labels] * 4, 2)), ["half-transparent"]),
    "16 bits": (lambda labels: Image.fromarray(labels.astype(np.uint16) * 300), ["16"]),
    "smoothed edges": (smoothed, ["smooth"]),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.fault("invalid first mask: {kind}", "exit code 2 before weights are loaded, error names the cause")
def test_bad_masks(run, clip, tmp_path, kind):
    draw, words = MASKS[kind]
    labels = np.array(Image.open(clip.with_name("clip.png")))
    draw(labels).save(tmp_path / "first.png")
    done = run(f"video_dir={clip}", f"mask={tmp_path / 'first.png'}", "output_dir=out", weights="missing.pth")
    assert done.returncode == 2, done.stderr  # before the weights are searched for
    assert "first.png" in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("no mask found", "exit code 2, error says that a mask is needed")
def test_no_mask_at_all(run, clip, tmp_path):
    clip.with_name("clip.png").unlink()
    done = run(f"video_dir={clip}", "output_dir=out")
    assert done.returncode == 2
    assert "mask" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("the only mask is all zero", "exit code 2: there is no object to segment")
def test_an_empty_mask_alone_is_refused(run, clip):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(clip.with_name("clip.png"))
    done = run(f"video_dir={clip}", "output_dir=out")
    assert done.returncode == 2
    assert "is all zero: there is no object to follow" in done.stderr


# -- bad videos: rc 1 -------------------------------------------------------------------------------------------


@pytest.mark.fault("one frame of a different size", "exit code 1, error names the frame and its size")
def test_frames_of_mixed_size(run, clip):
    Image.new("RGB", (32, 32)).save(clip / "4.png")
    done = run(f"video_dir={clip}", "output_dir=out")
    assert done.returncode == 1
    assert "4.png" in done.stderr
    assert "32x32" in done.stderr


@pytest.mark.fault("frame truncated", "exit code 1; with `data.on_corrupt=warn` a warning, the previous frame is used")
def test_truncated_frame_fails_or_warns(run, clip, tmp_path):
    damaged = clip / "7.png"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    failed = run(f"video_dir={clip}", "output_dir=out")
    assert failed.returncode == 1
    assert "7.png" in failed.stderr
    assert not (tmp_path / "out" / "masks" / "clip").exists()
    warned = run(f"video_dir={clip}", "output_dir=out", "data.on_corrupt=warn")
    assert warned.returncode == 0, warned.stderr
    assert "7.png" in warned.stderr
    assert len(list((tmp_path / "out" / "masks" / "clip").iterdir())) == 12


@pytest.mark.fault("text file named .mp4", "exit code 1, error names the file")
def test_not_a_video(run, tmp_path):
    (tmp_path / "notes.mp4").write_text("these are notes")
    Image.fromarray(np.ones((48, 64), np.uint8)).save(tmp_path / "notes.png")
    done = run(f"video_dir={tmp_path / 'notes.mp4'}", "output_dir=out")
    assert done.returncode == 1
    assert "notes.mp4" in done.stderr


@pytest.mark.fault("frames larger than `data.max_pixels`", "error before decoding")
def test_decompression_bomb(run, clip):
    done = run(f"video_dir={clip}", "output_dir=out", "data.max_pixels=1000")
    assert done.returncode in (1, 2)
    assert "max_pixels" in done.stderr


# -- weights: rc 3 ----------------------------------------------------------------------------------------------


def spoil(kind, weights, folder):
    path = folder / f"{kind}.safetensors"
    tensors = load_file(weights)
    if kind == "truncated":
        path.write_bytes(Path(weights).read_bytes()[:5000])
    elif kind == "page":
        path.write_text("<!DOCTYPE html><html><body>Not Found</body></html>")
    elif kind == "keys":
        tensors["something.else"] = tensors.pop("decoder.prediction.bias")
        save_file(tensors, path)
    elif kind == "shapes":
        tensors["decoder.prediction.bias"] = torch.zeros(3)
        save_file(tensors, path)
    elif kind == "nan":
        tensors["decoder.prediction.bias"][:] = float("nan")
        save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["missing", "xmem-infer download"]),
        ("truncated", ["truncated"]),
        ("page", ["web page"]),
        ("keys", ["something.else", "decoder.prediction.bias"]),
        ("shapes", ["decoder.prediction.bias", "(3,)"]),
        ("nan", ["NaN"]),
    ],
)
@pytest.mark.fault("invalid weights: {kind}", "exit code 3, error names the cause, no output folder")
def test_bad_weights(run, clip, tmp_path, tiny_weights, kind, words):
    done = run(f"video_dir={clip}", "output_dir=out", weights=spoil(kind, tiny_weights, tmp_path))
    assert done.returncode == 3, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()


# -- interruptions ----------------------------------------------------------------------------------------------


def long_clip(tmp_path, make_clip):
    write_clip(tmp_path / "long", make_clip, frames=150, size=(48, 64))  # about a second on an idle machine
    return tmp_path / "long"


def wait_for_partial(folder, process, frames=1):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("masks/.*.partial/*.png"))) < frames:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault(
    "signal {number} in the middle of a video",
    "no partial result; after a rerun, output is identical to an uninterrupted run",
)
def test_an_interrupted_run_can_be_repeated(run, tmp_path, make_clip, number, code):
    video = long_clip(tmp_path, make_clip)
    assert run(f"video_dir={video}", "output_dir=whole").returncode == 0
    process = run(f"video_dir={video}", "output_dir=out", by=begun)
    wait_for_partial(tmp_path / "out", process, frames=20)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]  # 5 s are documented for an idle machine
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert "frames are saved; run the same command again to resume" in said
        assert not list((tmp_path / "out").rglob("*.partial*"))
    assert not (tmp_path / "out" / "masks" / "long").exists()
    again = run(f"video_dir={video}", "output_dir=out")
    assert again.returncode == 0, again.stderr
    assert ("long: resumes after " in again.stderr) == (number != signal.SIGKILL)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.fault("two runs with one output folder", "the second one ends with exit code 3, the first is unaffected")
def test_a_second_run_on_the_same_output_is_refused(run, tmp_path, make_clip):
    video = long_clip(tmp_path, make_clip)
    process = run(f"video_dir={video}", "output_dir=out", by=begun)
    wait_for_partial(tmp_path / "out", process)
    process.send_signal(signal.SIGSTOP)  # so that it does not end before the second one starts
    second = run(f"video_dir={video}", "output_dir=out")
    process.send_signal(signal.SIGCONT)
    assert second.returncode == 3
    assert "another run" in second.stderr
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.fault("masks of unknown origin in the output folder", "exit code 2, the masks are unchanged")
def test_masks_of_unknown_origin_are_not_replaced(run, clip, tmp_path):
    mine = tmp_path / "out" / "masks" / "clip" / "0.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("drawn by hand")
    done = run(f"video_dir={clip}", "output_dir=out")
    assert done.returncode == 2
    assert mine.read_text() == "drawn by hand"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.fault("disk full during a run", "exit code 3, error says so, no partial result")
def test_a_full_disk(run, clip, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = run(f"video_dir={clip}", f"output_dir={disk / 'out'}")
        assert done.returncode == 3, done.stderr
        assert "No space left" in done.stderr
        assert not (disk / "out" / "masks" / "clip").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("threads", [10_000, 10**11, 0, -1])
@pytest.mark.fault("`runtime.threads={threads}`", "exit code 2, error states the valid range")
def test_invalid_thread_counts_are_refused_with_the_valid_range(run, clip, threads):
    done = run(f"video_dir={clip}", f"runtime.threads={threads}")
    assert done.returncode == 2
    assert f"runtime.threads={threads} is not possible" in done.stderr
    assert f"1 to {usable_cores()}, the cores that this process may use" in done.stderr or threads < 1
    assert "Traceback" not in done.stderr


def test_memory_that_may_not_fit_gives_a_warning(run, clip):
    """The warning precedes the out-of-memory error with exit code 3."""
    done = run("video_dir=clip", f"memory.max_long_term_tokens={10**11}")
    assert done.returncode == 3
    warned, failed = done.stderr.index("its memory may take"), done.stderr.index("out of memory at frame")
    assert warned < failed
    assert "its memory may take" not in run("video_dir=clip", "output_dir=small").stderr
