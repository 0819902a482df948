"""A stopped video resumes and equals an uninterrupted one; messages of a batch that was stopped."""

import json
import os
import shutil

import dataset_trees as trees
import numpy as np
import pytest
from batch_trees import leftovers, tree, write_set
from kills import each_kill
from logs import logged
from PIL import Image
from safetensors.torch import save_file

from xmem_infer.errors import EnvironmentFault
from xmem_infer.evaluate import video_run
from xmem_infer.evaluate.progress import remove_progress
from xmem_infer.evaluate.run import evaluate
from xmem_infer.interrupts import Interrupted

FRAMES = 30  # long enough that memory is consolidated


@pytest.fixture
def run(tmp_path, tiny_weights, monkeypatch):
    """run(out, name, stop_after=frames, key=value) -> the log; the stop comes between frames, like a signal."""
    count = video_run._count_frame

    def start(out, name=None, stop_after=None, **values):
        seen = []

        def count_frame(bar, each_frame):
            count(bar, each_frame)
            seen.append(1)
            if len(seen) == stop_after:
                raise Interrupted(15)

        monkeypatch.setattr(video_run, "_count_frame", count_frame)
        settings = {
            "weights": str(tiny_weights), "output_dir": str(tmp_path / out), "data__size": -1, "runtime__threads": 1,
            "runtime__precision": "fp32", "memory__min_working_frames": 1, "memory__max_working_frames": 3, **values,
        }  # fmt: skip
        with logged() as lines:
            if stop_after is None:
                assert evaluate(trees.eval_config(name, **settings)) == 0
            else:
                with pytest.raises(Interrupted):
                    evaluate(trees.eval_config(name, **settings))
        return "\n".join(lines)

    return start


@pytest.fixture
def clip(tmp_path, make_clip):
    """A folder of frames, and a folder of masks: the first mask, a late object, a correction."""
    images, masks = make_clip(FRAMES, 48, 64, 2, seed=0)
    (tmp_path / "clip").mkdir()
    (tmp_path / "given").mkdir()
    for t, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "clip" / f"{t}.png")
    for t, ids in ((0, [1]), (9, [2]), (20, [1, 2])):
        Image.fromarray(masks[t] * np.isin(masks[t], ids)).save(tmp_path / "given" / f"{t}.png")
    return {"video_dir": str(tmp_path / "clip"), "mask": str(tmp_path / "given")}


@pytest.mark.parametrize(
    "values",
    [
        {},
        pytest.param({"tta__flip": True, "tta__sizes": [48, 64]}, marks=pytest.mark.slow),
        pytest.param(
            {"memory__long_term": False, "runtime__grad_mode": "enable_grad_detached", "data__permanent": True},
            marks=pytest.mark.slow,
        ),
        {"memory__late_objects": "published", "runtime__grad_mode": "inference_mode", "runtime__precision": "bf16"},
    ],
)
@pytest.mark.fault("video stopped twice ({values})", "run resumes; output is identical to an uninterrupted run")
def test_a_video_stopped_twice_equals_an_uninterrupted_run(run, clip, tmp_path, values):
    run("whole", **clip, **values)
    said = run("out", stop_after=7, **clip, **values)
    assert "clip: 7 frames are saved; run the same command again to resume" in said
    assert leftovers(tmp_path / "out") == []
    assert not list((tmp_path / "out").glob("masks/*"))
    run("out", stop_after=3, **clip, **values)  # stopped before it reaches a new frame
    assert "resumes after 7 frames" in run("out", stop_after=22, **clip, **values)
    assert "resumes after 22 frames" in run("out", **clip, **values)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["videos"]["clip"]["frames"] == FRAMES


@pytest.mark.slow
def test_a_stopped_video_resumes_with_another_network_family(run, clip, tmp_path, cutie_state):
    weights = tmp_path / "cutie.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in cutie_state().items()}, weights)
    shutil.copytree(clip["video_dir"], tmp_path / "short" / "clip")
    for t in range(9, FRAMES):
        (tmp_path / "short" / "clip" / f"{t}.png").unlink()
    values = {"video_dir": str(tmp_path / "short" / "clip"), "mask": clip["mask"] + "/0.png", "weights": str(weights)}
    run("whole", **values)
    assert "7 frames are saved" in run("out", stop_after=7, **values)
    assert "resumes after 7 frames" in run("out", **values)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_stopped_video_resumes_if_not_all_frames_are_saved(run, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v"])
    run("whole", "ytvos18_valid", data_root=str(root))
    run("out", "ytvos18_valid", stop_after=4, data_root=str(root))
    assert "v: resumes after 4 frames" in run("out", "ytvos18_valid", data_root=str(root))
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def truncate_states(folder):
    path = folder / "states.pt"
    path.write_bytes(path.read_bytes()[:-1000])


def change_recorded_inputs(folder):
    record = json.loads((folder / "record.json").read_text())
    record["inputs"] = "of another video"
    (folder / "record.json").write_text(json.dumps(record))


@pytest.mark.parametrize("spoil", [truncate_states, change_recorded_inputs])
@pytest.mark.fault(
    "saved progress of a stopped video is invalid: {spoil}", "it is ignored; segmentation restarts at the first frame"
)
def test_invalid_saved_progress_is_ignored(run, clip, tmp_path, spoil):
    run("whole", **clip)
    run("out", stop_after=7, **clip)
    spoil(tmp_path / "out" / "records" / "stopped" / "clip")
    assert "clip: restarted from its first frame" in run("out", **clip)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_with_saved_scores_no_progress_is_saved_or_announced(run, clip, tmp_path):
    said = run("out", stop_after=7, output__scores=True, **clip)
    assert "kept" not in said
    assert not (tmp_path / "out" / "records" / "stopped").exists()


def test_finished_videos_are_mentioned_only_if_there_are_any(run, tmp_path, make_clip):
    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 4})
    said = run("out", stop_after=5, video_dir=str(videos))
    assert "1 of 2 videos are finished; run the same command again for the others" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "confidence").write_text("in the way")
    with pytest.raises(EnvironmentFault) as caught:
        run("full", video_dir=str(videos))
    assert str(caught.value).endswith("or move the file away")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.fault("SIGKILL at any step of deleting saved progress", "the saved progress is either complete or absent")
def test_saved_progress_is_deleted_atomically(tmp_path):
    def fill(place):
        for name in ("masks/0.png", "masks/1.png", "record.json", "states.pt"):
            (place / "clip" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "clip" / name).write_text("kept")

    left = [
        list(place.glob("clip/**/*.*")) for place in each_kill(tmp_path, lambda at: remove_progress(at / "clip"), fill)
    ]
    assert {len(files) for files in left} == {0, 4}
