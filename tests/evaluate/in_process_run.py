"""The fixture `run` of the tests of whole datasets: `evaluate` in this process.

Its users assign it (`run = in_process_run.run`): other tests of this folder have another `run`.
"""

import dataset_trees as trees
import pytest
from logs import logged

from xmem_infer.evaluate.run import evaluate


class Run:
    """One call of `evaluate`: its exit code, lines and tables."""

    def __init__(self, name, out, weights, **values):
        settings = {
            "weights": str(weights), "output_dir": str(out), "data__size": -1, "runtime__threads": 1,
            "runtime__precision": "fp32", "output__overlay": False, "output__preview": False, **values,
        }  # fmt: skip
        with logged() as lines:
            self.code = evaluate(trees.eval_config(name, **settings))
        self.words = "\n".join(lines)


@pytest.fixture
def run(tmp_path, tiny_weights):
    """run(dataset, key=value): a call of `evaluate` with the small network."""
    return lambda name, **values: Run(name, tmp_path / "out", values.pop("weights", tiny_weights), **values)
