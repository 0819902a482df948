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

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
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
MAX_NAME = 120  # characters in the folder name of a multirun's combination


def eval_command() -> NoReturn:
    """The console command: `xmem-infer VIDEO [MASK] [key=value ...]`, or `download`, `score`, `export`, `page`."""

    def plan_and_evaluate(config: EvalConfig) -> int:
        plan = _imported("evaluate.jobs.make_plan")(config)  # needs no torch, so errors show quickly
        code: int = _imported("evaluate.run.evaluate")(config, plan)
        return code

    subcommand = sys.argv[1] if len(sys.argv) > 1 else ""
    if subcommand in ("download", "score", "export", "page"):
        sys.argv[:2] = [f"xmem-infer {subcommand}"]
    if subcommand == "download":
        exit_with(_imported("cli.download.main")())
    if subcommand == "score":
        exit_with(run("score", _imported("scoring.score_folders.ScoreConfig"), "scoring.score_folders.score"))
    if subcommand == "export":
        exit_with(run("export", _imported("export.command.ExportConfig"), "export.command.export"))
    if subcommand == "page":
        exit_with(run("page", _imported("page.command.PageConfig"), "page.command.page"))
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

    Returns:
        0 success; 1 some videos failed; 2 usage; 3 environment; 130, 143 signals.
    """
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    codes: list[int] = []
    log_to_streams()
    yield_while_waiting()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # make Hydra raise its errors instead of printing them and exiting

    @hydra.main(version_base="1.3", config_path=str(configs_dir()), config_name=config_name)
    def combinations(composed: DictConfig) -> None:
        task(composed, give_own_folder(composed))

    def task(composed: DictConfig, combination: str = "") -> None:
        codes.append(1)  # stays if an unexpected exception ends the job
        if combination:
            print(f"-- {combination}", file=sys.stderr)
        try:
            config = OmegaConf.to_object(composed)
            function = _imported(job) if isinstance(job, str) else job
            codes[-1] = function(config)
        except HYDRA_ERRORS as error:
            codes[-1] = report_error(explained(error, schema))
        except (XMemInferError, KeyboardInterrupt) as error:
            codes[-1] = report_error(error)
        if combination and codes[-1]:
            print(f"-- {combination}: exit code {codes[-1]}", file=sys.stderr)
        if codes[-1] >= 128:  # a signal ends the whole sweep
            raise SystemExit(codes[-1])

    try:
        if answer := information(sys.argv[1:], configs_dir() / f"{config_name}.yaml", schema):
            print(answer)
            return 0
        sys.argv[1:] = settings_from(sys.argv[1:], schema)
        with noted_signals():
            if any(word.startswith("-") or "hydra" in word for word in sys.argv[1:]):
                combinations()
            else:  # a single run without Hydra's options takes half the time without hydra.main, which composes twice
                with initialize_config_dir(version_base="1.3", config_dir=str(configs_dir())):
                    composed = compose(config_name, sys.argv[1:])
                task(composed)
    except UsageError as error:
        return report_error(error)
    except HYDRA_ERRORS as error:
        return report_error(explained(error, schema))
    except SystemExit as stop:
        # Raised by the parser of Hydra's own options: a usage error.
        return max(codes) if codes else (2 if stop.code else 0)
    return max(codes, default=0)


def run_script(work: Callable[[], object]) -> NoReturn:
    """Run `work` for scripts that parse their own arguments, and exit with 0 or the exit code of its error."""
    log_to_streams()
    code = 0
    try:
        with noted_signals():
            work()
    except (XMemInferError, KeyboardInterrupt) as error:
        code = report_error(error)
    exit_with(code)


def give_own_folder(composed: DictConfig) -> str:
    """In a multirun, set `output_dir` or `run_dir` to a folder named after the settings that vary.

    It is created in the given folder or in output/multirun. If the sweep is over the folder setting itself, or the
    command has no such setting, nothing is changed.

    Returns:
        The name of the combination; "" if this is not a multirun.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.mode is not RunMode.MULTIRUN:
        return ""
    # Sweeps are read from the command line, because the job's own overrides hold a single value.
    varied = [
        override.get_key_element()
        for override in OverridesParser.create().parse_overrides([a for a in sys.argv[1:] if "=" in a and a[0] != "-"])
        if override.is_sweep_override()
    ]
    jobs = [text for text in hydra_config.overrides.task if text.partition("=")[0] in varied]
    name = ",".join(jobs)
    for key in ("output_dir", "run_dir"):  # a command has at most one of them
        if key in composed and key not in varied:
            base = composed[key] or "output/multirun"
            composed[key] = str(Path(base) / folder_name(name)) if name else base
    return name or "the only combination"


def folder_name(text: str) -> str:
    """Return a valid folder name on any file system; long names are cut and made unique by a hash."""
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def report_error(error: XMemInferError | KeyboardInterrupt) -> int:
    """Print the error that ended a job to standard error and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        stop = str(error) or "Ctrl-C"
        print(f"stopped by {stop}; nothing half-written is left", file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
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
