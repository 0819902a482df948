"""The commands: a typed configuration in, an exit code out. Every script starts here."""

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
MAX_NAME = 120  # letters in the name of a combination's folder


def eval_command() -> NoReturn:
    """The console command: `xmem-infer VIDEO [MASK] [key=value ...]`, or `download`, `score`, `export`, `page`."""

    def plan_and_evaluate(config: EvalConfig) -> int:
        plan = _imported("evaluate.jobs.make_plan")(config)  # without torch: a mistyped path should not wait for it
        code: int = _imported("evaluate.run.evaluate")(config, plan)
        return code

    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in ("download", "score", "export", "page"):
        sys.argv[:2] = [f"xmem-infer {word}"]
    if word == "download":
        exit_with(_imported("cli.download.main")())
    if word == "score":
        exit_with(run("score", _imported("scoring.score_folders.ScoreConfig"), "scoring.score_folders.score"))
    if word == "export":
        exit_with(run("export", _imported("export.command.ExportConfig"), "export.command.export"))
    if word == "page":
        exit_with(run("page", _imported("page.command.PageConfig"), "page.command.page"))
    exit_with(run("eval", EvalConfig, plan_and_evaluate))


def run(config_name: str, schema: type, job: Job) -> int:
    """Compose `configs/<config_name>.yaml` on a dataclass, run `job` on the typed result, return the exit code.

    A job named as in this package ("scoring.score_folders.score") is imported once the settings are found right: a
    typo should not wait for it.

    0 ok; 1 some videos failed; 2 usage or config; 3 environment; 130 and 143 signals. In a multirun (-m)
    each combination runs into a folder of its own, one that fails does not stop the others, and the worst
    code is returned.
    """
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    codes: list[int] = []
    log_to_streams()
    yield_while_waiting()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come here; else it prints them and exits

    @hydra.main(version_base="1.3", config_path=str(configs_dir()), config_name=config_name)
    def combinations(composed: DictConfig) -> None:
        task(composed, give_own_folder(composed))

    def task(composed: DictConfig, combination: str = "") -> None:
        codes.append(1)  # what a fault of this program leaves behind
        if combination:
            print(f"-- {combination}", file=sys.stderr)
        try:
            try:
                config = OmegaConf.to_object(composed)
            except HYDRA_ERRORS as error:
                raise explained(error, schema) from error
            function = _imported(job) if isinstance(job, str) else job
            codes[-1] = function(config)
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
            else:  # the plain case, in half the time: hydra.main composes twice, to learn that it is one
                with initialize_config_dir(version_base="1.3", config_dir=str(configs_dir())):
                    composed = compose(config_name, sys.argv[1:])
                task(composed)
    except UsageError as error:
        return report_error(error)
    except HYDRA_ERRORS as error:
        return report_error(explained(error, schema))
    except SystemExit as stop:
        # The parser of Hydra's own options leaves: a fault of the request.
        return max(codes) if codes else (2 if stop.code else 0)
    return max(codes, default=0)


def run_script(work: Callable[[], object]) -> NoReturn:
    """For scripts that read their arguments themselves: do the work, exit with 0 or the code of what ended it."""
    log_to_streams()
    code = 0
    try:
        with noted_signals():
            work()
    except (XMemInferError, KeyboardInterrupt) as error:
        code = report_error(error)
    exit_with(code)


def give_own_folder(composed: DictConfig) -> str:
    """In a multirun, set `output_dir` (or `run_dir`) to a folder named after what varies; returns that name, else "".

    Below the one given, or output/multirun. A sweep over the folder itself is taken at its word, and a program
    that writes nothing has no such setting.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.mode is not RunMode.MULTIRUN:
        return ""
    # The command line tells which keys vary: in the job's own overrides a sweep is resolved to one value.
    varied = [
        override.get_key_element()
        for override in OverridesParser.create().parse_overrides([a for a in sys.argv[1:] if "=" in a and a[0] != "-"])
        if override.is_sweep_override()
    ]
    jobs = [text for text in hydra_config.overrides.task if text.partition("=")[0] in varied]
    name = ",".join(jobs)
    for key in ("output_dir", "run_dir"):  # the programs have one or the other, or neither
        if key in composed and key not in varied:
            base = composed[key] or "output/multirun"
            composed[key] = str(Path(base) / folder_name(name)) if name else base
    return name or "the only combination"


def folder_name(text: str) -> str:
    """A name that any file system takes; a long one is cut and told apart by a hash."""
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def report_error(error: XMemInferError | KeyboardInterrupt) -> int:
    """Say on standard error what ended a job; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        stop = str(error) or "Ctrl-C"
        print(f"stopped by {stop}; nothing half-written is left", file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
    return exit_code(error)


def _imported(name: str) -> Any:
    module, _, member = name.rpartition(".")
    # What an import makes stays: looking for garbage in it costs a tenth of the start, and time again later.
    gc.disable()
    try:
        found = import_module(f"..{module}", __package__)
    finally:
        gc.enable()
    gc.freeze()
    return getattr(found, member)


class _LineHandler(logging.Handler):
    """Writes messages alone, above tqdm's bars, to what sys.stdout or sys.stderr is at that moment."""

    def __init__(self, stream: str):
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=getattr(sys, self.stream))


def log_to_streams() -> None:
    """Show what this package logs, from info upwards: tables on stdout, everything else on stderr."""
    for name, stream in (("xmem_infer", "stderr"), ("xmem_infer.tables", "stdout")):
        logger = logging.getLogger(name)
        logger.handlers = [_LineHandler(stream)]
        logger.setLevel(logging.INFO)
        logger.propagate = name == "xmem_infer"  # to the root, which has no handler here


def exit_code(error: BaseException) -> int:
    """What the command line returns for an error: 1 video, 2 usage, 3 environment, 128 + number of a signal."""
    if isinstance(error, Interrupted):
        return 128 + error.number
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def exit_with(code: int) -> NoReturn:
    """Exit. After a signal at once: everything is put away, and taking torch down can last seconds."""
    if code >= 128:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
