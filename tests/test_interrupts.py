import os
import signal
import time

import pytest
from batch_trees import write_set

from xmem_infer import interrupts
from xmem_infer.config import DataConfig, Device, Direction, EvalConfig, Precision, RuntimeConfig
from xmem_infer.engine.engine import Engine
from xmem_infer.evaluate.run import evaluate
from xmem_infer.interrupts import Interrupted, check, noted_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.fault("signal {number} while files are renamed", "it takes effect after the renaming")
def test_a_signal_is_deferred_until_the_next_check(number):
    reached = False
    with pytest.raises(Interrupted) as caught, noted_signals():
        check()
        os.kill(os.getpid(), number)
        reached = True  # the handler has run and raised nothing
        check()
    assert reached
    assert caught.value.number == number
    check()  # the signal was handled: what runs after the block is not interrupted by it


def test_without_a_check_a_signal_is_raised_after_the_grace_period(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE_S", 0.05)
    started = time.monotonic()
    with pytest.raises(Interrupted), noted_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert time.monotonic() - started < 20


def test_handlers_and_timer_are_restored():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    timer = signal.setitimer(signal.ITIMER_REAL, 1000)  # for example the time limit of a test
    with noted_signals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before
    assert 0 < signal.setitimer(signal.ITIMER_REAL, *timer)[0] <= 1000
    with noted_signals():
        check()  # the signal of an earlier block was discarded


@pytest.mark.parametrize("direction", [Direction.forward, Direction.both])
@pytest.mark.fault("SIGINT while a frame is computed ({direction})", "no further frame is computed")
def test_no_frame_is_computed_after_a_signal(tmp_path, make_clip, tiny_weights, monkeypatch, direction):
    """The promise to stop within seconds, without a clock: the work done after the signal is counted."""
    videos, step, steps = write_set(tmp_path / "set", make_clip, {"a": 8, "b": 3}), Engine.step, []

    def interrupted(*arguments, **options):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments, **options)

    monkeypatch.setattr(Engine, "step", interrupted)
    runtime = RuntimeConfig(device=Device.cpu, precision=Precision.fp32, threads=1)
    config = EvalConfig(str(videos), weights=str(tiny_weights), output_dir=str(tmp_path / "out"), runtime=runtime)
    config.data, config.direction = DataConfig(size=-1), direction
    with pytest.raises(Interrupted), noted_signals():
        evaluate(config)
    assert len(steps) == 3
