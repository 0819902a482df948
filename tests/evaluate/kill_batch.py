"""Stop batches at random moments by SIGINT, SIGTERM and SIGKILL, and resume them until they are complete.

After some stops a result of a finished video is damaged.

    python kill_batch.py VIDEOS WEIGHTS FOLDER WORKERS KILLS

Runs are forks of this process, which never starts a thread, so that none of them has to import torch first.
Prints each error, then the number of kills as the last line, for test_batch_kills.py.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from batch_trees import leftovers, report, run_config, tree

from xmem_infer.cli.commands import report_error
from xmem_infer.config import OutputConfig
from xmem_infer.errors import XMemInferError
from xmem_infer.evaluate.run import evaluate
from xmem_infer.interrupts import noted_signals

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
MARK = "XMEM_INFER_KILL_TEST"  # environment variable that identifies the processes of a run
STOP_S = 20.0  # 5 s are documented for an idle machine
PATIENCE_S = 60.0  # a fork server that is importing torch notices only afterwards that it should exit


def tell(words):
    print(words, flush=True)


class Batch:
    """A set of videos and the settings of the run that segments it."""

    def __init__(self, videos, weights, workers):
        self.videos, self.weights, self.workers = videos, weights, workers

    def begin(self, output_dir):
        """Start a process that runs the batch and return its id once it handles signals."""
        ready, told = os.pipe()
        os.environ[MARK] = str(output_dir)
        child = os.fork()
        if child:
            os.close(told)
            os.read(ready, 1)
            os.close(ready)
            return child
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        torch.set_num_threads(1)
        output = OutputConfig(overlay=False)
        config = run_config(self.videos, output_dir, self.weights, workers=self.workers, output=output)
        code = 99
        try:
            with noted_signals():
                os.write(told, b".")
                code = evaluate(config)
        except (XMemInferError, KeyboardInterrupt) as error:
            code = report_error(error)
        finally:
            import multiprocessing.util

            multiprocessing.util._exit_function()  # a normal exit does this, os._exit does not
            os._exit(code)


def ended(child):
    """Wait for a process; return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_work(child, output_dir):
    """Wait until a worker of this run has started a video, or the run has ended."""
    folder = output_dir / "records" / "attempts"
    old = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    while not any(path.stat().st_mtime_ns != old.get(path) for path in folder.glob("*.json") if path.exists()):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)


def descendants(output_dir):
    """Return the processes started by a run, whatever their parent is now, without the run itself."""
    wanted = f"{MARK}={output_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def spoil(output_dir, chance):
    """Damage or delete one file of a finished video; return a set with the name of the video."""
    done = {path.stem for path in (output_dir / "records").glob("*.json")}
    files = [path for path in output_dir.glob("masks/[!.]*/*.png") if path.parent.name in done]
    files += [path for path in output_dir.glob("*/[!.]*.*") if path.stem in done and path.parent.name != "records"]
    if not files:
        return set()
    path = chance.choice(sorted(files))
    if chance.random() < 0.5:
        path.unlink()
    else:
        path.write_bytes(chance.randbytes(path.stat().st_size))
    return {path.parent.name if path.parent.parent.name == "masks" else path.stem}


def check_stopped(number, code, seconds, output_dir, whole, before, spoiled):
    """Check a stopped run: exit code, time to stop, no leftovers or processes, no partial results.

    before: leftovers of an earlier killed run; they may remain if the run has not reached their video.
    spoiled: damaged videos; they may still be damaged if the run has not reached them.
    """
    where = f"{number.name} -> {code} after {seconds:.1f} s"
    if code != (-number if number is signal.SIGKILL else 128 + number):
        tell(f"{where}: wrong exit code")
    if number is not signal.SIGKILL:
        if seconds > STOP_S:
            tell(f"{where}: too slow")
        if left := set(leftovers(output_dir)) - before:
            tell(f"{where}: left {left}")
    deadline = time.monotonic() + PATIENCE_S
    while orphans := descendants(output_dir):
        if time.monotonic() > deadline:
            tell(f"{where}: processes {orphans} go on")
            break
        time.sleep(0.02)
    visible = {path: content for path, content in tree(output_dir).items() if "/." not in path}
    visible = {
        path: content
        for path, content in visible.items()
        if not path.startswith(("records/attempts", "records/stopped"))
    }
    for path, content in visible.items():
        if whole.get(path) != content and not spoiled & {Path(path).stem, Path(path).parent.name}:
            tell(f"{where}: {path} is not as it should be")
    for video in (output_dir / "masks").glob("[!.]*"):
        if video.name not in spoiled and len(list(video.iterdir())) != sum(
            path.startswith(f"masks/{video.name}/") for path in whole
        ):
            tell(f"{where}: {video} is not whole")


def main():
    videos, weights, folder, workers, kills = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    folder = Path(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chance = random.Random(1)
    undisturbed = folder / "whole"
    if code := ended(Batch(videos, weights, 1).begin(undisturbed)):
        tell(f"the undisturbed run ended with {code}")
    whole = tree(undisturbed)
    batch, made, turn, span = Batch(videos, weights, workers), 0, 0, None
    while made < kills:
        output_dir = folder / f"run{turn}"
        turn += 1
        spoiled = set()
        while True:
            before = set(leftovers(output_dir))
            child = batch.begin(output_dir)
            if workers > 1 and made % 5 != 4:  # most kills during work, some while workers start
                wait_for_work(child, output_dir)
            started = time.monotonic()
            if span is not None and made < kills:
                time.sleep(chance.uniform(0, span))
                number = SIGNALS[made % len(SIGNALS)]
                os.kill(child, number)
                sent = time.monotonic()
                code = ended(child)
                if code == 0:
                    break  # the run ended before the signal arrived
                made += 1
                check_stopped(number, code, time.monotonic() - sent, output_dir, whole, before, spoiled)
                spoiled |= spoil(output_dir, chance)
                continue
            if code := ended(child):
                tell(f"turn {turn}: the last run ended with {code}")
            span = span or time.monotonic() - started
            break
        if tree(output_dir) != whole:
            tell(f"turn {turn}: the tree differs from that of the undisturbed run")
        if left := leftovers(output_dir):
            tell(f"turn {turn}: left {left}")
        if sorted(report(output_dir)["videos"]) != sorted(report(undisturbed)["videos"]):
            tell(f"turn {turn}: run.json tells of other videos")
        shutil.rmtree(output_dir)
    tell(f"kills={made}")


if __name__ == "__main__":
    main()
