"""The verbs of a network compiled by OpenVINO, for CPUs: models of fixed shapes, kept on disk.

A model is made when the network meets shapes for the second time, and kept for later runs; what is met once, as on the
first frame, is left to torch. Each model is compared with torch on the numbers that it is made for, and not used where
it differs.
"""

import hashlib
import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ... import __version__
from ...io.atomic import Staged
from ...model.family import ObjectState

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the largest number of a result: float32 sums in another order stay a hundred times below


def openvino_version() -> str | None:
    """Of the OpenVINO that is installed, without loading it; None where there is none."""
    try:
        return version("openvino") if find_spec("openvino") else None
    except (PackageNotFoundError, ValueError):
        return None


def has_models(network: nn.Module) -> bool:
    """Whether an earlier run made models of this network."""
    return openvino_version() is not None and _cache().is_dir() and models_folder(network).is_dir()


def models_folder(network: nn.Module) -> Path:
    """Where the models of a network lie: in the user's cache, by its numbers and by what makes models of them."""
    makers = f"{__version__} {openvino_version()} {torch.__version__} {type(network).__qualname__}"
    digest = hashlib.sha256(makers.encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return _cache() / digest.hexdigest()[:20]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xmem_infer" / "openvino"


class OpenVinoVerbs:
    """A `Network` whose verbs are compiled, each for the shapes, flags and number of threads that it meets.

    Attributes:
        network: The network in torch, in evaluation mode, float32, which records no gradients.
        folder: Where its models are kept.
    """

    def __init__(self, network: Any, folder: Path):
        self.network, self.folder = network, folder
        self.conventions, self.sizes = network.conventions, getattr(network, "sizes", None)
        self._models: dict[tuple[Any, ...], _Model | None] = {}  # None: met once
        self._in_torch: set[tuple[Any, ...]] = set()  # where models are not used
        self._chunk = 0

    def process_in_chunks(self, count: int) -> None:
        """See `PreparableNetwork.process_in_chunks`."""
        self._chunk = count
        self.network.process_in_chunks(count)

    def empty_state(self, features: Any) -> ObjectState:
        """See `Network.empty_state`."""
        state: ObjectState = self.network.empty_state(features)
        return state

    def encode_image(self, image: Tensor) -> Any:
        """See `Network.encode_image`."""
        return self._run("encode_image", image)

    def encode_memory(
        self, image: Tensor, features: Any, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        """See `Network.encode_memory`."""
        found: tuple[Tensor, ObjectState] = self._run("encode_memory", image, features, state, masks, deep_update)
        return found

    def segment(
        self, features: Any, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        """See `Network.segment`."""
        found: tuple[ObjectState, Tensor, Tensor] = self._run("segment", features, readouts, state, update_state)
        return found

    def _run(self, verb: str, *arguments: Any) -> Any:
        leaves, _ = tree_flatten(arguments)
        shapes = tuple(tuple(x.shape) if isinstance(x, Tensor) else x for x in leaves)
        key = verb, self._chunk, torch.get_num_threads(), shapes
        model = self._models.get(key)
        if model is None:
            expected = getattr(self.network, verb)(*arguments)
            if key in self._models and key not in self._in_torch:
                wrong = "differs from torch's"
                try:
                    model = _Model(self.network, verb, arguments, expected, self._path(key))
                    follows = model.follows(arguments, expected)
                except Exception as error:  # OpenVINO's own kinds: an operation that it does not know, say
                    follows, wrong = False, f"cannot be made ({(str(error).strip() or repr(error)).splitlines()[-1]})"
                if follows:
                    self._models[key] = model
                else:
                    log.warning(f"warning: OpenVINO's {verb} {wrong}; torch's is used instead")
                    self._in_torch.add(key)
            self._models.setdefault(key)
            return expected
        return model(arguments)

    def _path(self, key: tuple[Any, ...]) -> Path:
        verb, chunk, _, shapes = key
        return self.folder / f"{verb}-{hashlib.sha256(repr((chunk, shapes)).encode()).hexdigest()[:16]}"


class _Model:
    """One verb for one set of shapes and flags."""

    def __init__(self, network: Any, verb: str, arguments: tuple[Any, ...], expected: Any, folder: Path):
        import openvino

        results, self._result = tree_flatten(expected)
        self._count = len(results)
        file = folder / "model.xml"
        source: Any = file
        if not file.is_file():
            log.info(f"OpenVINO: compiling {verb} for this size and number of objects; later runs find it in {folder}")
            source = _converted(network, verb, arguments)
            _keep(source, folder)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # pinned, they wait where another process has the core
        }
        # For the thread that makes it, a compiled model sets the stack that signals are handled on, and puts the former
        # one back when it is freed. Of two that are freed in the order of their making, the second puts back that of
        # the first, which is gone: the next signal would end the process. So another thread makes them.
        with ThreadPoolExecutor(1) as another:
            self._request = another.submit(
                lambda: openvino.Core().compile_model(source, "CPU", settings).create_infer_request()
            ).result()

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        inputs = [x.detach().contiguous().numpy() for x in _tensors(arguments)]
        # Results are copied: into tensors of ours, what is handed through unchanged would be written over its input.
        found = self._request.infer(inputs, share_inputs=True)
        results = [torch.from_numpy(found[place]) for place in range(self._count)]
        return tree_unflatten(results, self._result)

    def follows(self, arguments: tuple[Any, ...], expected: Any) -> bool:
        """Whether the results are torch's, but for the order of sums."""
        pairs = zip(_tensors(self(arguments)), _tensors(expected), strict=True)
        return all(bool((x - y).abs().max() <= TOLERANCE * y.abs().max().clamp(1)) for x, y in pairs)


class _Verb(nn.Module):
    """A verb as a function of tensors alone."""

    def __init__(self, network: Any, verb: str, arguments: tuple[Any, ...]):
        super().__init__()
        self.network, self.verb = network, verb
        self.leaves, self.structure = tree_flatten(arguments)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the arguments, in order -> those of the result."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(x, Tensor) else x for x in self.leaves]
        return tuple(_tensors(getattr(self.network, self.verb)(*tree_unflatten(leaves, self.structure))))


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_flatten(tree)[0] if isinstance(x, Tensor)]


def _converted(network: Any, verb: str, arguments: tuple[Any, ...]) -> Any:
    """An OpenVINO model of a verb; its inputs and results are the tensors of the arguments and of what it gives."""
    import openvino

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes are fixed, and that is meant
        own = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, arguments)
        tensors = tuple(_tensors(own))
        traced = torch.jit.trace(_Verb(network, verb, own), tensors, check_trace=False, strict=False)
        shapes = [openvino.PartialShape(list(x.shape)) for x in tensors]
        return openvino.convert_model(traced, example_input=tensors, input=shapes)


def _keep(model: Any, folder: Path) -> None:
    """Save a model for later runs; where that cannot be done, say so and go on without."""
    import openvino

    staged = Staged(folder)
    try:
        staged.prepare()
        staged.partial.mkdir()
        openvino.save_model(model, staged.partial / "model.xml", compress_to_fp16=False)
        staged.publish()
    except (OSError, RuntimeError) as error:
        log.info(f"OpenVINO's model could not be kept in {folder}, and is made again by the next run: {error}")
    finally:
        staged.discard()
