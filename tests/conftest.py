"""Shared fixtures: parity data, the published checkpoint layout filled from a seed, small networks."""

import importlib.util
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # parallel test processes: one thread each, inherited by child processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from commands import in_process
from fault_table import pytest_addoption, pytest_collection_modifyitems  # noqa: F401  # hooks
from hypothesis import HealthCheck, settings
from safetensors.torch import save_file

from xmem_infer.model.cutie.network import Cutie
from xmem_infer.model.cutie.sizes import CutieSizes
from xmem_infer.model.network import XMem
from xmem_infer.model.sizes import NetworkSizes, TrunkSizes
from xmem_infer.runtime.backends.openvino_cache import openvino_version
from xmem_infer.weights.build import build_network

PARITY = Path(__file__).parent / "data" / "parity"

# A loaded machine must not fail a test, and a failure must come again when the same commit is tested again.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def _load(name):
    spec = importlib.util.spec_from_file_location(name, PARITY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parity = sys.modules["parity"] = _load("parity")  # imported by cutie.py
cutie_parity = _load("cutie")


@pytest.fixture(autouse=True)
def package_logs_to_nobody():
    """Reset the package's loggers, which commands configure if they run in this process."""
    for name in ("xmem_infer", "xmem_infer.tables"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def empty_user_cache(tmp_path_factory):
    """Replace the user's cache, which includes OpenVINO models, by an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "user_cache"))
        yield


@pytest.fixture(scope="session")
def openvino_cache():
    """A folder for OpenVINO models, shared by all tests. It takes about 1 GB, so it is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.fixture
def openvino_models(monkeypatch, openvino_cache):
    """The cache folder of OpenVINO models, for tests of this backend."""
    if openvino_version() is None:
        pytest.skip("the extra cpu is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", openvino_cache)
    return Path(openvino_cache) / "xmem_infer" / "openvino"


@pytest.fixture(scope="session")
def cases():
    return json.loads((PARITY / "cases.json").read_text())


@pytest.fixture(scope="session")
def golden():
    """golden("long_term") -> the arrays of that case."""
    return lambda name: np.load(PARITY / f"golden_{name}.npz")


@pytest.fixture(scope="session")
def published_state():
    """published_state(seed=0, ...) -> a state dict of tensors in the published layout."""

    def build(**options):
        state = parity.make_checkpoint(**options)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in state.items()}

    return build


@pytest.fixture(scope="session")
def cutie_cases():
    return json.loads((PARITY / "cutie_cases.json").read_text())


@pytest.fixture(scope="session")
def cutie_golden():
    """cutie_golden("fifo") -> the arrays of that case."""
    return lambda name: np.load(PARITY / f"golden_cutie_{name}.npz")


@pytest.fixture(scope="session")
def cutie_state():
    """cutie_state(variant="base", seed=0, ...) -> a state dict of tensors in the published layout."""

    def build(**options):
        state = cutie_parity.make_checkpoint(**options)
        return {name: torch.from_numpy(np.asarray(value)) for name, value in state.items()}

    return build


@pytest.fixture(scope="session")
def make_clip():
    return parity.make_clip


@pytest.fixture(autouse=True)
def _restore_torch_globals():
    """Fail a test that does not restore grad mode, thread count or default dtype, instead of a later test."""
    before = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    yield
    after = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    torch.set_grad_enabled(before[0])
    torch.set_num_threads(before[1])
    assert after == before


TINY = NetworkSizes(
    key_trunk=TrunkSizes(False, (1, 1, 1), (8, 16, 32)),
    value_trunk=TrunkSizes(False, (1, 1, 1), (8, 16, 32)),
    key_dim=16,
    value_dim=32,
    hidden_dim=8,
    decoder=(32, 16, 16),
    sensory_dim=16,
    skip_kernel=1,
)


@pytest.fixture(scope="session")
def tiny_network():
    """A small network with seeded random weights: fast, with meaningless masks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return XMem(TINY).eval()


@pytest.fixture
def command(tiny_weights, tmp_path, monkeypatch):
    """command("video_dir=...") -> (exit code, standard error) of eval.py's command, run in this process.

    Uses the small network and the original frame size, in `tmp_path`; results go to `tmp_path / "out"`.
    """

    def call(*overrides):
        usual = ["data.size=-1", "runtime.threads=1", "runtime.precision=fp32", "output_dir=out"]
        given = {override.partition("=")[0] for override in overrides}
        settings = [setting for setting in usual if setting.partition("=")[0] not in given]
        monkeypatch.chdir(tmp_path)  # tests use relative paths to the results
        done = in_process("eval.py", f"weights={tiny_weights}", *settings, *overrides, cwd=tmp_path)
        return done.returncode, done.stderr

    return call


@pytest.fixture(scope="session")
def tiny_weights(tiny_network, tmp_path_factory):
    """The small network as a checkpoint file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    # Another test may have changed the network to channels last.
    save_file({name: value.contiguous() for name, value in tiny_network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def tiny_cutie():
    """A small Cutie with seeded random weights."""
    sizes = CutieSizes(
        pixel_trunk=TrunkSizes(False, (1, 1, 1), (8, 16, 32)),
        mask_trunk=TrunkSizes(False, (1, 1, 1), (8, 8, 16)),
        channels=16,
        key_dim=16,
        decoder=(8, 8),
        queries=4,
        blocks=2,
        feed_forward=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Cutie(sizes).eval()


@pytest.fixture(scope="session")
def tiny_cutie_weights(tiny_cutie, tmp_path_factory):
    """The small Cutie as a checkpoint file."""
    path = tmp_path_factory.mktemp("weights") / "tiny-cutie.safetensors"
    save_file({name: value.contiguous() for name, value in tiny_cutie.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def parity_network(published_state):
    """The published network in full size with seeded weights (seed 0, pred_bias -1)."""
    return build_network(published_state(seed=0, pred_bias=-1.0), Path("parity"))
