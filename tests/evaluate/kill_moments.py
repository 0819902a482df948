"""Helper process of test_kill_moments.py: kill runs of one video before every n-th file change.

    python kill_moments.py VIDEO MASK WEIGHTS FOLDER N

Prints each error, then the number of kills. This process never starts a thread, so that its forks can use torch.
"""

import shutil
import sys
from itertools import count
from pathlib import Path

import torch
from batch_trees import leftovers, run_config, tree
from kills import run_killed

from xmem_infer.config import Device, OutputConfig, Precision, RuntimeConfig
from xmem_infer.evaluate import video_run
from xmem_infer.evaluate.run import evaluate
from xmem_infer.interrupts import Interrupted

STOP_AFTER = 4  # frames
NEVER = 10**9
count_frame = video_run._count_frame
video, mask, weights = sys.argv[1:4]


def segment(out, stop_after=None, overwrite=False):
    seen = []

    def stop(bar, each_frame):
        count_frame(bar, each_frame)
        seen.append(1)
        if len(seen) == stop_after:
            raise Interrupted(15)

    torch.set_num_threads(1)
    video_run._count_frame = stop
    runtime = RuntimeConfig(device=Device.cpu, precision=Precision.fp32, threads=1, variant="eager")
    output = OutputConfig(overlay=False, preview=False)
    config = run_config(video, out, weights, mask=mask, overwrite=overwrite, runtime=runtime, output=output)
    try:
        assert evaluate(config) == 0
    except Interrupted:
        assert stop_after is not None


def done(out, **values):
    assert run_killed(lambda: segment(out, **values), NEVER)
    return out


def check(out, where, whole):
    """Check that no partial result is visible, and that a rerun, with and without overwrite, gives the full result."""
    for path, content in tree(out).items():
        if "/." not in path and not path.startswith(("records/stopped", ".")) and whole.get(path) != content:
            print(f"{where}: {path} is not as it should be", flush=True)
    for again, values in (("the next run", {}), ("a run that starts anew", {"overwrite": True})):
        differing = {path for path, _ in tree(done(out, **values)).items() ^ whole.items()}
        if differing or leftovers(out):
            print(f"{where}: {again} differs in {differing}, leaves {leftovers(out)}", flush=True)


def main():
    folder, step = Path(sys.argv[4]), int(sys.argv[5])
    whole = tree(done(folder / "whole"))
    done(folder / "stopped", stop_after=STOP_AFTER)
    begun = {  # name -> (existing output, settings of the run that is killed)
        "keep": (None, {"stop_after": STOP_AFTER}),
        "keep more": ("stopped", {"stop_after": STOP_AFTER + 1}),
        "go on": ("stopped", {}),
        "replace": ("whole", {"overwrite": True}),
    }
    kills = 0
    for name, (before, values) in begun.items():
        for moment in count(kills % step, step):
            out = folder / "run"
            shutil.copytree(folder / before, out) if before else out.mkdir()
            is_over = run_killed(lambda out=out, values=values: segment(out, **values), moment)
            check(out, f"{name}, moment {moment}", whole)
            shutil.rmtree(out)
            if is_over:
                break
            kills += 1
    print(f"kills={kills}", flush=True)


if __name__ == "__main__":
    main()
