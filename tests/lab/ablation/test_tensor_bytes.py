import pytest
import torch
from torch import nn

from xmem_infer.lab.ablation.tensor_bytes import TensorBytes, bytes_of

CPU = torch.device("cpu")


def counted(work):
    counter = TensorBytes(CPU)
    with counter.counting():
        kept = work()
    return counter, kept


def test_held_and_peak_are_exact():
    def work():
        a = torch.empty(1000)
        b = torch.empty(500)
        del a
        return b

    counter, _ = counted(work)
    assert (counter.held, counter.peak) == (2000, 6000)


def test_a_chain_holds_two_links_without_a_graph_and_all_with_one():
    weight = torch.ones(1000, requires_grad=True)

    def work():
        x = weight
        for _ in range(5):
            x = x.exp()  # backward needs the result
        return x

    with torch.no_grad():
        off, kept = counted(work)
    assert (off.held, off.peak) == (4000, 8000)
    del kept
    on, _kept = counted(work)
    assert (on.held, on.peak) == (20_000, 20_000)


def test_stretches_add_up_and_the_last_peak_starts_from_what_is_held():
    counter = TensorBytes(CPU, base=100)
    with counter.counting():
        kept = torch.empty(1000)
    assert (counter.held, counter.last_peak) == (4100, 4100)
    with counter.counting():
        torch.empty(10)
    assert (counter.held, counter.last_peak, counter.peak) == (4100, 4140, 4140)
    with counter.counting():
        del kept
    assert (counter.held, counter.last_peak, counter.peak) == (100, 4100, 4140)


def test_what_came_before_an_error_counts():
    counter, kept = TensorBytes(CPU), {}

    def work():
        kept["x"] = torch.empty(1000)
        return kept["y"]

    with pytest.raises(KeyError), counter.counting():
        work()
    assert counter.held == 4000


def test_it_repeats_to_the_byte():
    layer, x = nn.Conv2d(3, 8, 3), torch.ones(1, 3, 40, 40)
    runs = [counted(lambda: layer(x))[0] for _ in range(3)]
    assert len({(run.held, run.peak) for run in runs}) == 1


def test_bytes_of_a_network_count_shared_storage_once():
    layer = nn.Linear(10, 10, bias=False)
    both = nn.Sequential(layer, nn.Linear(10, 10, bias=False), nn.BatchNorm1d(10))
    assert bytes_of(both) == 2 * 400 + 4 * 40 + 8
    both[1].weight = layer.weight
    assert bytes_of(both) == 400 + 4 * 40 + 8


def test_the_profiler_does_not_speak(capfd):
    counted(lambda: torch.ones(3))
    assert capfd.readouterr() == ("", "")
