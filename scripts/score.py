"""Scores of predicted masks against annotated ones: python scripts/score.py predictions=... annotations=..."""

import sys


def main() -> int:
    """0: all scored; 1: some videos could not be; 2: wrong request; 3: environment; 130, 143: signals."""
    # Imported here, since every scoring process imports this file anew
    from xmem_infer.cli.commands import run
    from xmem_infer.scoring.score_folders import ScoreConfig, score

    return run("score", ScoreConfig, score)


if __name__ == "__main__":
    sys.exit(main())
