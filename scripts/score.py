"""Score predicted masks against annotated ones: python scripts/score.py predictions=... annotations=..."""

import sys


def main() -> int:
    """Return the exit code. 0: all scored; 1: some videos could not be; 2: usage; 3: environment; 130, 143: signals."""
    # Imported here, because every scoring process imports this file again.
    from xmem_infer.cli.commands import run
    from xmem_infer.scoring.score_folders import ScoreConfig, score

    return run("score", ScoreConfig, score)


if __name__ == "__main__":
    sys.exit(main())
