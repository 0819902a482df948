"""The order in which frames are suggested for correction."""

import subprocess
import sys

import numpy as np
import pytest

from xmem_infer.engine.drift import JUMPED, UNSURE
from xmem_infer.interactive.suggestion import badness_of, next_to_fix, ranking
from xmem_infer.types import ObjectConfidence

SURE, UNSURE_ONE = ObjectConfidence(90, 0.97, False), ObjectConfidence(90, 0.7, False, 0.05, (UNSURE,))
LOST = ObjectConfidence(0, 0.0, True)


def test_the_least_certain_frame_comes_first():
    confidence = {
        0: {1: SURE, 2: SURE},
        1: {1: SURE, 2: UNSURE_ONE},
        2: {1: LOST, 2: UNSURE_ONE},
        3: {1: SURE, 2: SURE},
    }
    assert [item.index for item in ranking(confidence, [0])] == [2, 1, 3]
    assert next_to_fix(confidence, [0, 2]).index == 1
    assert next_to_fix(confidence, range(4)) is None


def test_gain_is_summed_over_the_frames_that_a_correction_improves():
    rng = np.random.default_rng(0)
    numbers = rng.uniform((0.5, 0), (1, 0.2), (40, 2)).tolist()
    seen = {index: ObjectConfidence(90, sure, False, far) for index, (sure, far) in enumerate(numbers)}
    references = [0, 13, 14, 30]

    def gain(index):
        shares = {t: 1 - abs(t - index) / min(abs(t - r) for r in references) for t in seen if t not in references}
        return sum(badness_of(seen[t]) * max(0, share) for t, share in shares.items())

    ranked = ranking({index: {1: confidence} for index, confidence in seen.items()}, references)
    assert len(ranked) == 36
    for item in ranked:
        assert item.gain == pytest.approx(gain(item.index), abs=1e-6)
    near = [item for item in ranked if item.gain >= 0.9 * max(item.gain for item in ranked)]
    assert len(near) > 1 and ranked[: len(near)] == sorted(near, key=lambda item: -badness_of(seen[item.index]))
    gains = [item.gain for item in ranked[len(near) :]]
    assert gains == sorted(gains, reverse=True)


def test_the_middle_of_a_bad_stretch_comes_before_a_worse_single_frame():
    stretch = {index: {1: ObjectConfidence(90, 0.7, False, 0.1)} for index in range(10, 19)}
    alone = {30: {1: ObjectConfidence(90, 0.6, False, 0.1)}}
    assert next_to_fix({**stretch, **alone}, [0, 40]).index in (13, 14)


def test_the_worst_of_frames_with_nearly_equal_gain_comes_first():
    stretch = {index: {1: ObjectConfidence(90, 0.7, False, 0.1)} for index in range(10, 19)}
    stretch[15] = {1: ObjectConfidence(90, 0.6, False, 0.1)}
    assert next_to_fix(stretch, [0, 40]).index == 15


def test_reasons_name_the_object_and_what_happened():
    far = ObjectConfidence(90, 0.95, False, 0.4, (JUMPED,))
    assert next_to_fix({4: {1: SURE, 7: far}}, []).reason == "object 7 jumped"
    assert next_to_fix({4: {3: LOST}}, []).reason == "object 3 is lost"
    assert next_to_fix({4: {3: SURE}}, []).reason == "object 3 is segmented with a confidence of 97 %"


def test_frames_without_objects_are_not_suggested():
    assert ranking({0: {}, 1: {1: SURE}}, []) == ranking({1: {1: SURE}}, [])


@pytest.mark.fault("next frame to correct requested while the network loads", "waits for the thread that imports torch")
def test_it_can_be_imported_while_torch_is_being_imported():
    program = """
import sys, threading
thread = threading.Thread(target=__import__, args=["xmem_infer.predictor"])
thread.start()
while "torch._C" not in sys.modules:
    pass
import xmem_infer.interactive.suggestion
thread.join()
sys.exit("xmem_infer.predictor" not in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
