"""The verbs of a network compiled by OpenVINO, for CPUs: models of fixed shapes, kept on disk.

A model is made when the network meets shapes for the second time, and kept for later runs; what is met once, as on the
first frame, is left to torch. Each model is compared with torch on the numbers that it is made for, and not used where
it differs.
"""

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ... import __version__
from ...io.atomic import Staged
from ...model.family import ObjectState
from ...user_cache import user_cache

log = logging.getLogger(__name__)

Key = tuple[str, int, int, tuple[Any, ...]]
"""Verb, objects at once, threads, and of each argument the shape or, where it is no tensor, the value."""

TOLERANCE = 1e-3  # of the largest number of a result: float32 sums in another order stay a hundred times below


def openvino_version() -> str | None:
    """Of the OpenVINO that is installed, without loading it; None where there is none."""
    try:
        return version("openvino") if find_spec("openvino") else None
    except (PackageNotFoundError, ValueError):
        return None


def load_openvino() -> Any:
    """OpenVINO without its telemetry, which reports to its makers each time it is imported or converts a model."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # not to be imported; it is not needed
    import openvino

    return openvino


def has_models(network: nn.Module, maker: str = "") -> bool:
    """Whether an earlier run made models of this network; maker: see `models_folder`."""
    if openvino_version() is None or not _cache().is_dir():
        return False
    return any(models_folder(network, maker).glob("[!.]*/*.xml"))


def models_folder(network: nn.Module, maker: str = "") -> Path:
    """Where the models of a network lie: in the user's cache, by its numbers and by what makes models of them.

    maker: what else has a part in it.
    """
    makers = f"{__version__} {openvino_version()} {torch.__version__} {type(network).__qualname__}{maker}"
    digest = hashlib.sha256(makers.encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return _cache() / digest.hexdigest()[:20]


def _cache() -> Path:
    return user_cache() / "openvino"


class OpenVinoVerbs:
    """A `Network` whose verbs are compiled, each for the shapes, flags and number of threads that it meets.

    Attributes:
        network: The network in torch, in evaluation mode, float32, which records no gradients.
        folder: Where its models are kept.
        int8: The models that are used instead, see `int8`.
    """

    def __init__(self, network: Any, folder: Path, int8: Any = None):
        self.network, self.folder, self.int8 = network, folder, int8
        self.conventions, self.sizes = network.conventions, getattr(network, "sizes", None)
        self._models: dict[Key, CompiledVerb | None] = {}  # None: met once
        self._in_torch: set[Key] = set()  # where models are not used
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
        key: Key = verb, self._chunk, torch.get_num_threads(), shapes
        if self.int8 is not None and verb not in self.int8.fallen:
            return self.int8.run(verb, key, arguments)
        model = self._models.get(key)
        if model is None:
            expected = getattr(self.network, verb)(*arguments)
            if key in self._models and key not in self._in_torch:
                wrong = "differs from torch's"
                try:
                    model = CompiledVerb(self._source(key, arguments), expected)
                    follows = model.follows(arguments, expected)
                except Exception as error:  # OpenVINO's own kinds: an operation that it does not know, say
                    follows, wrong = False, f"cannot be made ({(str(error).strip() or repr(error)).splitlines()[-1]})"
                if follows:
                    self._models[key] = model
                else:
                    forget(model_folder(self.folder, key))  # it may be damaged
                    log.warning(f"warning: OpenVINO's {verb} {wrong}; torch's is used instead")
                    self._in_torch.add(key)
            self._models.setdefault(key)
            return expected
        return model(arguments)

    def _source(self, key: Key, arguments: tuple[Any, ...]) -> Any:
        """The file of a model that is kept, or one that is made and kept now."""
        folder = model_folder(self.folder, key)
        if (folder / "model.xml").is_file():
            return folder / "model.xml"
        log.info(f"OpenVINO: compiling {key[0]} for this size and number of objects; later runs find it in {folder}")
        model = converted(self.network, key[0], arguments)
        keep(partial(save, model), folder)
        return model


def model_folder(folder: Path, key: Key) -> Path:
    """Where the model of a key is kept, for any number of threads."""
    verb, chunk, _, shapes = key
    return folder / f"{verb}-{hashlib.sha256(repr((chunk, shapes)).encode()).hexdigest()[:16]}"


class CompiledVerb:
    """One verb for one set of shapes and flags.

    Args:
        source: A model of OpenVINO's, or its file.
        expected: A result of the verb.
    """

    def __init__(self, source: Any, expected: Any):
        results, self._result = tree_flatten(expected)
        self._count = len(results)
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
                lambda: load_openvino().Core().compile_model(source, "CPU", settings).create_infer_request()
            ).result()

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        inputs = [x.detach().contiguous().numpy() for x in tensors_of(arguments)]
        # Results are copied: into tensors of ours, what is handed through unchanged would be written over its input.
        found = self._request.infer(inputs, share_inputs=True)
        results = [torch.from_numpy(found[place]) for place in range(self._count)]
        return tree_unflatten(results, self._result)

    def follows(self, arguments: tuple[Any, ...], expected: Any) -> bool:
        """Whether the results are torch's, but for the order of sums."""
        pairs = zip(tensors_of(self(arguments)), tensors_of(expected), strict=True)
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
        return tuple(tensors_of(getattr(self.network, self.verb)(*tree_unflatten(leaves, self.structure))))


def tensors_of(tree: Any) -> list[Tensor]:
    """The tensors in arguments or results, in order."""
    return [x for x in tree_flatten(tree)[0] if isinstance(x, Tensor)]


def converted(network: Any, verb: str, arguments: tuple[Any, ...]) -> Any:
    """An OpenVINO model of a verb; its inputs and results are the tensors of the arguments and of what it gives."""
    openvino = load_openvino()
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes are fixed, and that is meant
        own = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, arguments)
        tensors = tuple(tensors_of(own))
        traced = torch.jit.trace(_Verb(network, verb, own), tensors, check_trace=False, strict=False)
        shapes = [openvino.PartialShape(list(x.shape)) for x in tensors]
        return openvino.convert_model(traced, example_input=tensors, input=shapes)


def save(model: Any, folder: Path) -> None:
    """Write a model of OpenVINO's, its numbers as they are."""
    load_openvino().save_model(model, folder / "model.xml", compress_to_fp16=False)


def keep(write: Callable[[Path], object], folder: Path) -> None:
    """Have `write` fill a folder for later runs, unless another process has put a model there meanwhile.

    Where that cannot be done, say so and go on without.
    """
    try:
        with _held(folder) as staged:
            if not (folder / "model.xml").is_file():
                staged.prepare()
                staged.partial.mkdir()
                write(staged.partial)
                staged.publish()
    except (OSError, RuntimeError) as error:
        log.info(f"OpenVINO's model could not be kept in {folder}, and is made again by the next run: {error}")


def forget(folder: Path) -> None:
    """Remove a model that is not to be used; the next run makes it of its own frames."""
    with suppress(OSError), _held(folder) as staged:
        staged.withdraw()


@contextmanager
def _held(folder: Path) -> Iterator[Staged]:
    """The folder of a model; other processes, which make the same one, wait until the block ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Staged(folder)
    with FileLock(folder.with_name(".lock")):
        try:
            yield staged
        finally:
            staged.discard()
