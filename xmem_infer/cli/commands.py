"""The commands, from command line to exit code. All scripts start here."""

import gc
import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from ..config import EvalConfig, configs_dir
from ..errors import EnvironmentFault, UsageError, VideoError, XMemInferError
from ..interrupts import Interrupted, noted_signals
from ..runtime.cores import yield_while_waiting
from .arguments import HYDRA_ERRORS, explained, settings_from
from .settings_help import information

Job = str | Callable[[Any], int]
EXIT_CODES: dict[type[BaseException], int] = {VideoError: 1, UsageError: 2, EnvironmentFault: 3, KeyboardInterrupt: 130}
FAILURES = (XMemInferError, KeyboardInterrupt, *HYDRA_ERRORS)  # they end a job with a message and an exit code
MAX_NAME = 120  # characters in the folder name of a multirun's combination
SUBCOMMANDS = {  # name -> the dataclass of its settings and its function
    "score": ("scoring.score_folders.ScoreConfig", "scoring.score_folders.score"),
    "export": ("export.command.ExportConfig", "export.command.export"),
    "page": ("page.command.PageConfig", "page.command.page"),
}


def eval_command() -> NoReturn:
    """The console command: `xmem-infer VIDEO [MASK] [key=value ...]`, or `download`, `score`, `export`, `page`."""

    def plan_and_evaluate(config: EvalConfig) -> int:
        plan = _imported("evaluate.jobs.make_plan")(config)  # needs no torch, so errors show quickly
        code: int = _imported("evaluate.run.evaluate")(config, plan)
        return code

    subcommand = sys.argv[1] if len(sys.argv) > 1 else ""
    if subcommand in ("download", *SUBCOMMANDS):
        sys.argv[:2] = [f"xmem-infer {subcommand}"]
    if subcommand == "download":
        exit_with(_imported("cli.download.main")())
    if subcommand in SUBCOMMANDS:
        schema, job = SUBCOMMANDS[subcommand]
        exit_with(run(subcommand, _imported(schema), job))
    exit_with(run("eval", EvalConfig, plan_and_evaluate))


def run(config_name: str, schema: type, job: Job) -> int:
    """Compose `configs/<config_name>.yaml` with a dataclass schema, run `job` on the result and return the exit code.

    In a multirun (-m) each combination of settings gets an output folder of its own. If one fails, the others still
    run, and the highest exit code is returned.

    Args:
        config_name: Name of the configuration.
        schema: Dataclass of the settings.
        job: The function to run, or its name in this package ("scoring.score_folders.score"). A function given by name
            is imported after the settings have been checked, so that errors in them show quickly.
    """
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    log_to_streams()
    yield_while_waiting()
    code = 0
    try:
        if answer := information(sys.argv[1:], configs_dir() / f"{config_name}.yaml", schema):
            print(answer)
            return 0
        with noted_signals():
            for name, composed in _combinations(config_name, schema):
                if name:
                    print(f"-- {name}", file=sys.stderr)
                try:
                    config = OmegaConf.to_object(composed)
                    function = _imported(job) if isinstance(job, str) else job
                    last = function(config)
                except FAILURES as error:
                    last = report_error(error, schema)
                if name and last:
                    print(f"-- {name}: exit code {last}", file=sys.stderr)
                code = max(code, last)
                if last >= 128:  # a signal ends the whole sweep
                    break
    except FAILURES as error:
        code = report_error(error, schema)
    return code


def _combinations(config_name: str, schema: type) -> list[tuple[str, DictConfig]]:
    """Compose all combinations of the settings on the command line, each named after the settings that vary.

    Each combination of a multirun has a folder of its own in `output_dir` or `run_dir`, or in output/multirun if these
    are not set. If the sweep is over the folder itself, or the command has no such setting, nothing is changed.
    """
    combinations = []
    with initialize_config_dir(version_base="1.3", config_dir=str(configs_dir())):
        for varied, overrides in settings_from(sys.argv[1:], schema):
            composed = compose(config_name, overrides)
            name = ",".join(varied)
            for key in ("output_dir", "run_dir"):  # a command has at most one of them
                if varied and key in composed and not any(text.startswith(f"{key}=") for text in varied):
                    composed[key] = str(Path(composed[key] or "output/multirun") / folder_name(name))
            combinations.append((name, composed))
    return combinations


def run_script(work: Callable[[], object]) -> NoReturn:
    """Run `work` for scripts that parse their own arguments, and exit with 0 or the exit code of its error."""
    log_to_streams()
    code = 0
    try:
        with noted_signals():
            work()
    except FAILURES as error:
        code = report_error(error)
    exit_with(code)


def folder_name(text: str) -> str:
    """Return a valid folder name on any file system; long names are cut and made unique by a hash."""
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def report_error(error: Exception | KeyboardInterrupt, schema: type = EvalConfig) -> int:
    """Print the error that ended a job to standard error and return its exit code; schema: of the settings."""
    if isinstance(error, HYDRA_ERRORS):
        error = explained(error, schema)
    is_stop = isinstance(error, KeyboardInterrupt)
    said = f"stopped by {str(error) or 'Ctrl-C'}; nothing half-written is left" if is_stop else f"error: {error}"
    print(said, file=sys.stderr)
    return exit_code(error)


def _imported(name: str) -> Any:
    module, _, member = name.rpartition(".")
    # Objects created by an import are permanent: collecting garbage among them would cost a tenth of the start-up time.
    gc.disable()
    try:
        imported = import_module(f"..{module}", __package__)
    finally:
        gc.enable()
    gc.freeze()
    return getattr(imported, member)


class _LineHandler(logging.Handler):
    """Log handler that prints messages above tqdm's bars, to the current sys.stdout or sys.stderr."""

    def __init__(self, stream: str):
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=getattr(sys, self.stream))


def log_to_streams() -> None:
    """Print the package's log messages from level INFO: tables to stdout, all others to stderr."""
    for name, stream in (("xmem_infer", "stderr"), ("xmem_infer.tables", "stdout")):
        logger = logging.getLogger(name)
        logger.handlers = [_LineHandler(stream)]
        logger.setLevel(logging.INFO)
        logger.propagate = name == "xmem_infer"  # tables would also appear on stderr


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error: 1 video, 2 usage, 3 environment, 128 + signal number."""
    if isinstance(error, Interrupted):
        return 128 + error.number
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def exit_with(code: int) -> NoReturn:
    """Exit; after a signal without interpreter shutdown, which can take seconds once torch is loaded."""
    if code >= 128:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
