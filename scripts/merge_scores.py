"""Merge the scores that several runs saved into masks: python scripts/merge_scores.py runs=[FOLDER,FOLDER]."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.evaluate.score_merging import MergeConfig, merge_runs

if __name__ == "__main__":
    exit_with(run("merge_scores", MergeConfig, merge_runs))
