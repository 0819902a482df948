"""How many bad and good frames the signs of drift tell.

    python scripts/drift_figures.py RUN ANNOTATIONS [RUN ANNOTATIONS ...]

RUN: an output folder of eval.py; ANNOTATIONS: the true masks of every frame, as score.py takes them.
"""

import argparse
import sys
from pathlib import Path

from xmem_infer.cli import complain
from xmem_infer.errors import UsageError, XMemInferError
from xmem_infer.lab.drift_figures import drift_figures


def main() -> int:
    """0: the table is printed; otherwise the exit code of what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN ANNOTATIONS", help="folders, in pairs")
    folders = parser.parse_args().folders
    try:
        if len(folders) % 2:
            raise UsageError(f"give pairs of folders, RUN ANNOTATIONS; got {len(folders)}")
        print(drift_figures(folders[::2], folders[1::2]))
    except XMemInferError as error:
        return complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
