"""A training session: resume, train, save, validate, export. It can be stopped at any time."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from ...config import MemoryConfig, Precision, RuntimeConfig
from ...errors import UsageError
from ...interrupts import Interrupted
from ...io.atomic import disk_fault, locked
from ...runtime.contexts import thread_count
from ...runtime.device import choose_device
from ...runtime.limits import check_threads
from .batches import batches
from .checkpoint import export_weights, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import TrainConfig, learning_settings
from .pack import Pack, check_pack, decode_pack
from .records import Records, plot_curves
from .starting_point import StartingPoint, initialise, read_starting_point
from .step import TrainState, new_state, train_step
from .validation import Clip, find_clips, score, tracker

NEEDED = (
    "{} not set: training needs data_packs=[<tar>, ...], the pictures to learn from, and run_dir=<folder>, where the "
    "run is kept. For example: python scripts/train.py data_packs=[train_240p.tar] run_dir=output/training"
)
tables = logging.getLogger("xmem_infer.tables")  # goes to standard output


def train(config: TrainConfig) -> TrainState:
    """Train until optim.total_samples, max_steps of this session, or a signal. A saved run is resumed.

    Resuming and every validation are logged. On SIGINT and SIGTERM the current step is finished, everything is saved,
    and Interrupted is raised. Raises UsageError for a path that is not set, missing, or contains no data.
    """
    if not config.run_dir or not config.data_packs:
        lacking = [key for key in ("data_packs", "run_dir") if not getattr(config, key)]
        raise UsageError(NEEDED.format(" and ".join(lacking) + (" is" if len(lacking) == 1 else " are")))
    run, device, clips = Path(config.run_dir), choose_device(config.device), []
    if config.validation:
        clips = find_clips(Path(config.validation), config.validation_clips, config.validation_frames)
    check_threads(config.threads)
    for tar in config.data_packs:
        check_pack(Path(tar))
    start = None  # a resumed run does not need it
    if latest_checkpoint(run / "checkpoints") is None:
        start = read_starting_point(config.network.key_trunk, Path(config.start) if config.start else None)
    try:
        # Locked, because a second process would delete this one's checkpoints.
        with locked(run, f"another process trains in {run}", "run_dir"), thread_count(config.threads):
            plot_curves(run)  # fails without matplotlib: better now than after an hour
            return _Session(config, run, device, clips, start).train()
    except OSError as error:
        raise disk_fault(error, run) from error


class _Session:
    """Trains a run from its last checkpoint on. Only when it saves and validates depends on the clock."""

    def __init__(
        self, config: TrainConfig, run: Path, device: torch.device, clips: list[Clip], start: StartingPoint | None
    ):
        cache = Path(config.cache_dir) if config.cache_dir else run / "pack"
        packs = [decode_pack(Path(tar), cache) for tar in config.data_packs]
        self.config, self.run, self.clips = config, run, clips
        self.state = new_state(config, device)
        if saved := latest_checkpoint(run / "checkpoints"):
            load_checkpoint(self.state, saved)
            tables.info(f"resumed at {self.state.seen} samples")
        else:
            assert start is not None, "a new run has one"
            initialise(self.state.network, start, Pack(*packs))
            self.state.average.load_state_dict(self.state.network.state_dict())
        self.records = Records(run, self.state.seen)
        if changed := self.records.add_settings(self.state.seen, learning_settings(config)):
            tables.info(f"settings that changed since the run began: {', '.join(changed)}")
        self.stream = batches(packs, config.stages, config.seed, self.state.seen, config.workers)
        self.saved = self.validated = time.monotonic()

    def train(self) -> TrainState:
        """Train step by step until the session ends. After a signal, save everything and raise Interrupted."""
        config, state, total = self.config, self.state, self.config.optim.total_samples
        last = None if config.max_steps is None else state.steps + config.max_steps
        bar = tqdm(total=total, initial=state.seen, desc="training", unit="sample", disable=None)
        with _collected_signals() as self.signals, bar, closing(self.stream):
            try:
                while state.seen < total and state.steps != last and not self.signals:
                    parts = train_step(state, next(self.stream), config)
                    bar.set_postfix(loss=f"{parts['loss']:.3f}", refresh=False)
                    bar.update(state.seen - bar.n)
                    self.records.add_step(state.seen, parts)
                    if time.monotonic() - self.saved > 60 * config.checkpoint_minutes:
                        self.save()
                    if time.monotonic() - self.validated > 60 * config.validate_minutes:
                        self.validate()
                self.validate()
            finally:
                self.save()
        if self.signals:
            raise Interrupted(self.signals[0])
        tables.info(f"{state.seen} samples seen, saved below {self.run}")
        return state

    def save(self) -> None:
        self.records.flush()
        save_checkpoint(self.state, self.run / "checkpoints")
        self.saved = time.monotonic()

    def validate(self) -> None:
        """Score, and export the weights if they are the best. Skipped after a signal, so that the run ends quickly."""
        if scores := self._scores():
            each = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
            tables.info(f"{self.state.seen} samples: J&F {sum(scores.values()) / len(scores):.3f} ({each})")
            best, export = self.records.add_validation(self.state.seen, scores), self.config.export
            if export and (best or not Path(export).exists()):
                export_weights(self.state, self.config, scores, Path(export))
        self.records.flush()
        plot_curves(self.run)
        self.validated = time.monotonic()

    def _scores(self) -> dict[str, float]:
        """Return J&F by clip; empty if there are no clips or a signal has arrived."""
        if not self.clips:
            return {}
        config, scores = self.config, {}
        precision = Precision.bf16 if config.bf16 else Precision.fp32
        runtime = RuntimeConfig(device=config.device, precision=precision, threads=config.threads)
        track = tracker(self.state.average, config.validation_size, runtime, MemoryConfig(top_k=config.top_k))
        for clip in self.clips:
            if self.signals:
                return {}
            scores[clip.name] = score(clip, track).measures.overall
        return scores


@contextmanager
def _collected_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of handling them; restore the handlers at the end."""
    signals: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: signals.append(number)) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
