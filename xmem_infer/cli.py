"""The console command `xmem-infer`, and what `scripts/eval.py` calls."""

from .app import leave, run_app
from .config import EvalConfig


def eval_main() -> None:
    """Segment videos as `configs/eval.yaml` and the command line say; exits with the run's code."""
    leave(run_app("eval", EvalConfig, _evaluate))


def _evaluate(config: EvalConfig) -> int:
    from .evaluate.run import evaluate  # torch takes seconds; a typo should not wait for it

    return evaluate(config)
