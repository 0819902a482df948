"""Helpers of the batch tests: a set of tiny videos, the command that segments it, hashes of its output."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from xmem_infer.config import DataConfig, Device, EvalConfig, Precision, RuntimeConfig

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "eval.py"


def write_set(root, make_clip, lengths, size=(48, 64)):
    """Write JPEGImages and Annotations of videos; `lengths` maps names to numbers of frames."""
    for seed, (name, frames) in enumerate(lengths.items()):
        images, masks = make_clip(frames, *size, 2, seed=seed)
        for folder in ("JPEGImages", "Annotations"):
            (root / folder / name).mkdir(parents=True)
        for t, image in enumerate(images):
            Image.fromarray(image).save(root / "JPEGImages" / name / f"{t}.png")
        Image.fromarray(masks[0]).save(root / "Annotations" / name / "0.png")
    return root


def run_config(videos, output_dir, weights, **changes):
    """Return the settings of a run in float32 on one CPU thread, at the size of the frames."""
    runtime = RuntimeConfig(device=Device.cpu, precision=Precision.fp32, threads=1)
    paths = {"video_dir": str(videos), "output_dir": str(output_dir), "weights": str(weights)}
    return EvalConfig(**{**paths, "data": DataConfig(size=-1), "runtime": runtime, **changes})


def tree(folder):
    """Return the content hashes of all files below a folder, except run.json (has times) and the lock file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }


def report(output_dir):
    return json.loads((output_dir / "run.json").read_text())


def leftovers(output_dir):
    """Return hidden files and folders (incomplete outputs) and attempt records, without the lock file."""
    attempts = list((output_dir / "records").glob("attempts*"))
    return attempts + [path for path in output_dir.rglob(".*") if path.name != ".lock"]


def start(videos, weights, output_dir, *overrides):
    """Start `scripts/eval.py` on a set in a new process, with small frames and one thread."""
    settings = ["data.size=-1", "runtime.precision=fp32", "runtime.device=cpu", "runtime.threads=1"]
    command = [sys.executable, str(SCRIPT), f"video_dir={videos}", f"weights={weights}", f"output_dir={output_dir}"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [*command, *settings, *overrides], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def attempts(output_dir, video):
    """Return the process ids of the workers that started a video, oldest first."""
    try:
        made = json.loads((output_dir / "records" / "attempts" / f"{video}.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(attempt.split()[1]) for attempt in made]


def wait_for_attempt(process, output_dir, video, number=1, patience_s=180):
    """Wait for the given attempt at a video and return the process id of its worker."""
    deadline = time.monotonic() + patience_s
    while len(made := attempts(output_dir, video)) < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"attempt {number} of {video} was never made"
        time.sleep(0.01)
    return made[number - 1]
