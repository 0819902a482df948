"""A slice of a run: resume, train, save, validate, export; stops at any moment."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from ...config import MemoryConfig, Precision, RuntimeConfig, require
from ...interrupts import Interrupted
from ...io.atomic import disk_fault, held
from ...runtime.device import choose_device
from ...runtime.limits import thread_count
from .batches import batches
from .checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from .config import TrainConfig, learning_settings
from .export import export_weights
from .pack import decoded_pack
from .records import Records, plot_curves
from .step import TrainState, new_state, train_step
from .validation import Clip, find_clips, score, tracker

Say = Callable[[str], None]


def train(config: TrainConfig, say: Say = lambda line: None) -> TrainState:
    """Train until optim.total_samples, max_steps of this slice or a signal; the run goes on where it was saved.

    `say` is told where it resumes and every validation. SIGINT and SIGTERM: the step is finished, everything saved,
    and Interrupted raised. UsageError for a missing path or one that holds no data.
    """
    run, tar = Path(_given(config.run_dir, "run_dir")), Path(_given(config.data_pack, "data_pack"))
    device = choose_device(config.device)
    clips = (
        find_clips(Path(config.validation), config.validation_clips, config.validation_frames)
        if config.validation
        else []
    )
    try:
        # A second process would delete this one's checkpoints.
        with held(run, f"another process trains in {run}", "run_dir"), thread_count(config.threads):
            plot_curves(run, run)  # what is missing for it is said now, not after an hour
            pack = decoded_pack(tar, Path(config.cache_dir) if config.cache_dir else run / "pack")
            return _train(config, run, pack, clips, device, say)
    except OSError as error:
        raise disk_fault(error, run) from error


def _train(config: TrainConfig, run: Path, pack: Path, clips: list[Clip], device: torch.device, say: Say) -> TrainState:
    state = new_state(config, device)
    saved = latest_checkpoint(run / "checkpoints")
    if saved:
        load_checkpoint(state, saved)
        say(f"resumed at {state.seen} samples")
    records = Records(run, state.seen)
    if changed := records.settings(state.seen, learning_settings(config)):
        say(f"settings that changed since the run began: {', '.join(changed)}")
    stream = batches(pack, config.stages, config.seed, state.seen, config.workers)
    total = config.optim.total_samples
    with (
        _until_signal() as asked,
        tqdm(total=total, initial=state.seen, desc="training", unit="sample", disable=None) as bar,
    ):
        slice_ = _Slice(config, run, state, records, clips, say, asked)
        try:
            while state.seen < total and not asked:
                if config.max_steps is not None and slice_.steps >= config.max_steps:
                    break
                parts = train_step(state, next(stream), config)
                bar.set_postfix(loss=f"{parts['loss']:.3f}", refresh=False)
                bar.update(state.seen - bar.n)
                slice_.after_step(parts)
            slice_.validate()
        finally:
            slice_.save()
    if asked:
        raise Interrupted(asked[0])
    return state


class _Slice:
    """What happens between steps, by the clock: files and pictures only, never what is learnt."""

    def __init__(
        self,
        config: TrainConfig,
        run: Path,
        state: TrainState,
        records: Records,
        clips: list[Clip],
        say: Say,
        asked: list[int],
    ):
        self.config, self.run, self.state, self.records = config, run, state, records
        self.clips, self.say, self.asked = clips, say, asked
        self.steps = 0
        self._saved = self._validated = time.monotonic()

    def after_step(self, parts: dict[str, float]) -> None:
        self.steps += 1
        self.records.step(self.state.seen, parts)
        now = time.monotonic()
        if now - self._saved > 60 * self.config.checkpoint_minutes:
            self.save()
        if now - self._validated > 60 * self.config.validate_minutes:
            self.validate()

    def save(self) -> None:
        self.records.flush()
        save_checkpoint(self.state, self.run / "checkpoints")
        self._saved = time.monotonic()

    def validate(self) -> None:
        """Score, and export what is best; not where somebody waits for us to stop."""
        scores = self._scores()
        if scores:
            each = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
            self.say(f"{self.state.seen} samples: J&F {sum(scores.values()) / len(scores):.3f} ({each})")
            best = self.records.validation(self.state.seen, scores)
            export = Path(self.config.export) if self.config.export else None
            if export and (best or not export.exists()):
                export_weights(self.state, self.config, scores, export)
        self.records.flush()
        plot_curves(self.run, self.run)
        self._validated = time.monotonic()

    def _scores(self) -> dict[str, float]:
        """By clip; none without clips, or where a signal came before the last one."""
        config, scores = self.config, {}
        if not self.clips:
            return {}
        precision = Precision.bf16 if config.bf16 else Precision.fp32
        runtime = RuntimeConfig(device=config.device, precision=precision, threads=config.threads)
        track = tracker(self.state.average, config.validation_size, runtime, MemoryConfig(top_k=config.top_k))
        for clip in self.clips:
            if self.asked:
                return {}
            scores[clip.name] = score(clip, track).measures.overall
        return scores


@contextmanager
def _until_signal() -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask the loop to stop after its step, as numbers in the list; handlers are put back."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _given(value: str | None, key: str) -> str:
    require(value is not None, key, value, "a path")
    assert value is not None
    return value
