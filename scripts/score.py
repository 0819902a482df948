"""Scores of predicted masks against annotated ones: python scripts/score.py predictions=... annotations=..."""

import sys


def main() -> int:
    """0: all scored; 1: some videos could not be; 2: wrong request; 3: environment; 130, 143: signals."""
    # Imported here, since every scoring process imports this file anew
    from xmem_infer.cli import run
    from xmem_infer.scoring.score_run import ScoreConfig, score

    return run("score", ScoreConfig, lambda config: score(config, print, say))


def say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
