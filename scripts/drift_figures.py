"""Count how many bad and good frames the signs of drift detect.

    python scripts/drift_figures.py RUN ANNOTATIONS [RUN ANNOTATIONS ...]

RUN: an output folder of eval.py; ANNOTATIONS: the true masks of every frame, in the form that score.py accepts.
"""

import argparse
from pathlib import Path

from xmem_infer.cli.commands import run_script
from xmem_infer.errors import UsageError
from xmem_infer.lab.drift_figures import drift_figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN ANNOTATIONS", help="folders, in pairs")
    folders = parser.parse_args().folders
    if len(folders) % 2:
        raise UsageError(f"give pairs of folders, RUN ANNOTATIONS; got {len(folders)}")
    print(drift_figures(folders[::2], folders[1::2]))


if __name__ == "__main__":
    run_script(main)
