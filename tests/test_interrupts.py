import os
import signal
import time

import pytest

from xmem_infer import interrupts
from xmem_infer.interrupts import Interrupted, check, noted_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.fault("signal {number} while files are renamed", "it strikes at the next safe moment")
def test_a_signal_waits_for_a_safe_moment(number):
    reached = False
    with pytest.raises(Interrupted) as caught, noted_signals():
        check()
        os.kill(os.getpid(), number)
        reached = True  # the handler has run, nothing was raised
        check()
    assert reached
    assert caught.value.number == number


def test_where_no_safe_moment_comes_it_strikes_after_the_grace(monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE_S", 0.05)
    started = time.monotonic()
    with pytest.raises(Interrupted), noted_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert time.monotonic() - started < 20


def test_handlers_and_timer_are_put_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    timer = signal.setitimer(signal.ITIMER_REAL, 1000)  # that of a test's time limit, say
    with noted_signals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before
    assert 0 < signal.setitimer(signal.ITIMER_REAL, *timer)[0] <= 1000
    with noted_signals():
        check()  # an earlier block's signal is forgotten
