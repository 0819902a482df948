"""Helper process of test_writer_kills.py: write a video repeatedly in child processes that are killed.

Usage: kill_writer.py OUTPUT_DIR random N | steps. Prints one line for each error, and the number
of kills. Generation g of the video has label g on all frames, so files of two generations can be told apart.
"""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
from kills import run_killed
from PIL import Image

from xmem_infer.config import OutputConfig
from xmem_infer.outputs.protocol import VideoDetails
from xmem_infer.outputs.writer import VideoWriter
from xmem_infer.types import Frame, ObjectConfidence

FRAMES, SIZE, VIDEO = 2, (24, 32), "clip one"
ORDER = ("overlay", "preview", "confidence", "scores", "masks")  # of publication


def report(line: str) -> None:
    print(line, flush=True)  # before the next fork copies the buffer


def write(output_dir: Path, generation: int) -> None:
    labels = np.full(SIZE, generation, np.uint8)
    scores = np.full((2, *SIZE), generation, np.uint8)
    confidence = {generation: ObjectConfidence(generation, 1.0, False)}
    with VideoWriter(VideoDetails(output_dir, VIDEO, fps=25), OutputConfig(scores=True)) as writer:
        for index in range(FRAMES):
            image = np.full((*SIZE, 3), 60, np.uint8)
            writer.put(Frame(index, str(index), image), labels, confidence, scores)


def generations(output_dir: Path) -> dict[str, set[int]]:
    """Return the generations found in each output under its final name; raise if an output is incomplete."""
    found: dict[str, set[int]] = {}
    masks, scores = output_dir / "masks" / VIDEO, output_dir / "scores" / VIDEO
    names = [str(index) for index in range(FRAMES)]
    if masks.exists():
        assert sorted(path.name for path in masks.iterdir()) == [f"{name}.png" for name in names], "masks missing"
        found["masks"] = {int(label) for path in masks.iterdir() for label in np.unique(np.asarray(Image.open(path)))}
    if scores.exists():
        assert sorted(path.name for path in scores.iterdir()) == [f"{name}.npz" for name in names], "scores missing"
        found["scores"] = {int(v) for path in scores.iterdir() for v in np.unique(np.load(path)["probabilities"])}
    table = output_dir / "confidence" / f"{VIDEO}.csv"
    if table.exists():
        rows = table.read_text().splitlines()
        assert len(rows) == FRAMES + 1, "confidence cut short"
        found["confidence"] = {int(row.split(",")[1]) for row in rows[1:]}
    overlay = output_dir / "overlay" / f"{VIDEO}.mp4"
    if overlay.exists():
        with av.open(str(overlay)) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES, "overlay cut short"
        found["overlay"] = set()
    preview = output_dir / "preview" / f"{VIDEO}.png"
    if preview.exists():
        Image.open(preview).load()
        found["preview"] = set()
    return found


def check(output_dir: Path, generation: int, where: str) -> None:
    """Check the outputs after a kill during the writing of `generation`."""
    try:
        found = generations(output_dir)
    except Exception as error:
        report(f"{where}: a partial result under a final name: {error!r}")
        return
    ages = [found[kind] for kind in ORDER if found.get(kind)]
    if any(len(age) != 1 or not age <= {generation - 1, generation} for age in ages):
        report(f"{where}: generations {ages} mixed within one output")
    elif [min(age) for age in ages] != sorted((min(age) for age in ages), reverse=True):
        report(f"{where}: published in another order than {ORDER}: {ages}")
    for kind in ORDER:
        aside = list((output_dir / kind).glob(f".{VIDEO}*.old"))
        if kind not in found and not aside:
            report(f"{where}: the finished {kind} of before is gone")


def mended(output_dir: Path, generation: int, where: str) -> None:
    """Check that a run after the kill brings all outputs to `generation` and leaves no other files."""
    write(output_dir, generation)
    found = generations(output_dir)
    if set(found) != set(ORDER) or any(age - {generation} for age in found.values()):
        report(f"{where}: the next run left {found}")
    if hidden := [path for path in output_dir.rglob("*") if path.name.startswith(".")]:
        report(f"{where}: the next run left {hidden}")


def killed(output_dir: Path, generation: int, delay_s: float) -> bool:
    """Write in a child process that is killed after `delay_s`; return False if it had finished before."""
    child = os.fork()
    if child == 0:
        write(output_dir, generation)
        os._exit(0)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        report(f"generation {generation}: the child failed by itself")
    return os.WIFSIGNALED(status)


def main() -> None:
    output_dir, mode = Path(sys.argv[1]), sys.argv[2]
    turns = int(sys.argv[3]) if mode == "random" else 200
    chance = random.Random(5)
    mended_in_child(output_dir, 1, "first run")
    kills = 0
    for turn in range(turns):
        generation, where = 2 + turn, f"{mode} kill {turn}"
        if mode == "steps":
            hit = not run_killed(partial(write, output_dir, generation), turn)
        else:
            hit = killed(output_dir, generation, chance.uniform(0, 0.12))
        check(output_dir, generation, where)
        mended_in_child(output_dir, generation, where)
        kills += hit
        if mode == "steps" and not hit:
            break  # all steps of the run have been tried
    report(f"kills={kills}")


def mended_in_child(output_dir: Path, generation: int, where: str) -> None:
    """Run `mended` in a fork, so that this process never starts a thread and stays safe to fork."""
    child = os.fork()
    if child == 0:
        mended(output_dir, generation, where)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        report(f"{where}: the next run failed")


if __name__ == "__main__":
    main()
