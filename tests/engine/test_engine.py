import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmem_infer.config import MemoryConfig
from xmem_infer.engine.engine import Engine, annotated_ids
from xmem_infer.errors import UsageError
from xmem_infer.runtime.backends.prepare import prepare

HEIGHT, WIDTH = 40, 52


@pytest.fixture
def engine(tiny_network):
    with torch.no_grad():
        yield Engine(prepare(tiny_network, torch.device("cpu")).network, MemoryConfig(memory_every=2))


def picture(seed):
    return torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def mask_of(**boxes):
    """mask_of(l7=(top, bottom)) -> a label image with a horizontal band per label."""
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    for name, (top, bottom) in boxes.items():
        mask[top:bottom] = int(name[1:])
    return mask


def test_probabilities_of_every_frame_sum_to_one(engine):
    state = engine.start()
    for t in range(6):
        prob = engine.step(state, picture(t), mask_of(l3=(5, 20), l255=(25, 30)) if t == 0 else None, end=t == 5)
        assert prob.shape == (3, HEIGHT, WIDTH)
        torch.testing.assert_close(prob.sum(0), torch.ones(HEIGHT, WIDTH))
    assert state.object_ids == [3, 255]


def test_before_the_first_object_everything_is_background(engine):
    state = engine.start()
    assert engine.step(state, picture(0)).tolist() == torch.ones(1, HEIGHT, WIDTH).tolist()
    assert engine.step(state, picture(1), mask_of()).shape == (1, HEIGHT, WIDTH)
    prob = engine.step(state, picture(2), mask_of(l9=(0, 10)))
    assert torch.equal(prob.argmax(0), (mask_of(l9=(0, 10)) == 9).long())
    assert state.clock.t == 1


def test_a_late_object_joins_and_the_others_keep_their_prediction(engine):
    state = engine.start()
    engine.step(state, picture(0), mask_of(l1=(0, 12)))
    alone = engine.step(state, picture(1))
    assert alone.shape[0] == 2
    state = engine.start()
    engine.step(state, picture(0), mask_of(l1=(0, 12)))
    joined = engine.step(state, picture(1), mask_of(l4=(20, 30)))
    assert state.object_ids == [1, 4]
    assert (joined.argmax(0)[20:30] == 2).all()
    assert (joined.argmax(0)[:20] != 2).all()
    assert torch.equal(joined.argmax(0)[30:], alone.argmax(0)[30:])
    assert engine.step(state, picture(2)).shape[0] == 3


def test_unpainted_objects_of_a_correction_keep_their_prediction(engine):
    def third_frame(**boxes):
        state = engine.start()
        engine.step(state, picture(0), mask_of(l1=(0, 12), l2=(20, 30)))
        engine.step(state, picture(1))
        return engine.step(state, picture(2), mask_of(**boxes) if boxes else None)

    predicted, corrected = third_frame(), third_frame(l2=(0, 5))
    assert (corrected.argmax(0)[:5] == 2).all()
    assert (corrected.argmax(0)[5:] != 2).all()
    assert corrected[1, :5].max() < 1e-3
    assert (corrected[1, 5:] > 0.7 * predicted[1, 5:]).all()
    assert predicted[1, 5:].min() > 0.1


def test_a_complete_correction_annotates_every_object(engine):
    state = engine.start()
    engine.step(state, picture(0), mask_of(l1=(0, 12), l2=(20, 30)))
    engine.step(state, picture(1))
    prob = engine.step(state, picture(2), mask_of(l2=(0, 5)), complete=True)
    assert torch.equal(prob.argmax(0), 2 * (mask_of(l2=(0, 5)) == 2).long())
    assert state.memory.working_tokens == 2 * 3 * 4
    assert torch.equal(engine.step(state, picture(3), mask_of(), complete=True).argmax(0), mask_of().long())


def test_annotated_labels_can_be_listed(engine):
    """As in YouTube-VOS, a later mask annotates only the new object."""
    state = engine.start()
    engine.step(state, picture(0), mask_of(l1=(0, 12)))
    prob = engine.step(state, picture(1), mask_of(l1=(30, 40), l2=(12, 20)), object_ids=[2])
    assert state.object_ids == [1, 2]
    assert (prob.argmax(0)[12:20] == 2).all()
    assert not (prob.argmax(0)[30:40] == 1).all()


def test_an_object_lost_by_downscaling_is_still_registered(engine):
    state = engine.start()
    assert engine.step(state, picture(0), mask_of(), object_ids=[8]).shape[0] == 2
    assert state.object_ids == [8]


def test_removing(engine):
    state = engine.start()
    engine.step(state, picture(0), mask_of(l1=(0, 12), l2=(20, 30)))
    engine.step(state, picture(1), mask_of(l5=(12, 20)))
    engine.remove(state, 1)
    assert engine.step(state, picture(2)).shape[0] == 3
    assert state.object_ids == [2, 5]
    engine.remove(state, 5)
    engine.remove(state, 2)
    assert engine.step(state, picture(3)).shape[0] == 1
    engine.step(state, picture(4), mask_of(l1=(0, 9)))
    assert engine.step(state, picture(5)).shape[0] == 2
    with pytest.raises(UsageError, match="no object 5"):
        engine.remove(state, 5)


@pytest.mark.fault("image or mask whose size differs from the video's", "error")
def test_wrong_sizes_are_refused(engine):
    state = engine.start()
    with pytest.raises(UsageError, match="mask of"):
        engine.step(state, picture(0), torch.zeros(4, 4, dtype=torch.uint8))
    engine.step(state, picture(0), mask_of(l1=(0, 12)))
    with pytest.raises(UsageError, match="one size"):
        engine.step(state, torch.zeros(3, 16, 16))


def test_interleaved_videos_do_not_affect_each_other(engine):
    def play(states, order):
        last = {}
        for name, t in order:
            seed = t + 100 * name
            last[name] = engine.step(states[name], picture(seed), mask_of(l1=(0, 12)) if t == 0 else None)
        return last

    apart = play([engine.start(), engine.start()], [(0, t) for t in range(5)] + [(1, t) for t in range(5)])
    mixed = play([engine.start(), engine.start()], [(v, t) for t in range(5) for v in (0, 1)])
    assert all(torch.equal(apart[v], mixed[v]) for v in (0, 1))


labels = st.lists(st.integers(1, 255), max_size=6, unique=True)


@given(labels, labels)
@settings(max_examples=60)
def test_ids_that_a_mask_annotates(known, present):
    assert set(annotated_ids(known, [0, *present], complete=True)) == set(known) | set(present)
    taken = annotated_ids(known, [0, *present])
    assert taken == present
    assert annotated_ids(known, [0, *present], complete=True)[: len(known)] == known
