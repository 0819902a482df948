"""J&F against milliseconds per frame: `python scripts/trade_off.py FOLDER --networks NAME=FILE ... [--clips FOLDER]`.

Each call adds its results to FOLDER/trade_off.csv and writes the page and the picture again.
"""

import argparse
from pathlib import Path

from xmem_infer.cli.commands import run_script
from xmem_infer.errors import UsageError
from xmem_infer.lab.report import output_folder
from xmem_infer.lab.trade_off import Subjects, read_rows, score_clips, time_frames, trained_scores, write_trade_off


def main() -> None:
    """Add to the table and write the page."""
    parser = argparse.ArgumentParser(description="J&F against milliseconds per frame, as table and picture.")
    parser.add_argument("folder", metavar="FOLDER", help="of the report")
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME=FILE", help="weights")
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=["fp32", "int8"], help="of the networks")
    parser.add_argument("--candidates", nargs="+", default=[], metavar="NAME=FILE", help="weights with their scores")
    parser.add_argument("--clips", type=Path, help="score on clips in a DAVIS layout")
    parser.add_argument("--frames", type=int, help="at most so many frames of each clip")
    parser.add_argument("--rounds", type=int, default=0, help="measure times in so many rounds; 0: not at all")
    args = parser.parse_args()
    if not (args.networks or args.candidates or Path(args.folder, "trade_off.csv").is_file()):
        parser.error("there is nothing to show: give --networks or --candidates, or the folder of an earlier report")
    folder = output_folder(args.folder)
    rows = read_rows(folder)
    networks, candidates = _subjects(args.networks, args.precisions), _subjects(args.candidates, ["fp32"])
    if args.clips:
        column = score_clips(rows, args.clips, args.frames, networks)
        trained_scores(rows, column, candidates)
    if args.rounds:
        time_frames(rows, {**networks, **candidates}, args.rounds)
    write_trade_off(folder, rows)


def _subjects(given: list[str], precisions: list[str]) -> Subjects:
    pairs = [pair.partition("=") for pair in given]
    if wrong := [name for name, _, path in pairs if not Path(path).is_file()]:
        raise UsageError(f"{wrong[0]}: there is no such file; networks are given as NAME=FILE")
    return {f"{name} {precision}": (Path(path), precision) for name, _, path in pairs for precision in precisions}


if __name__ == "__main__":
    run_script(main)
