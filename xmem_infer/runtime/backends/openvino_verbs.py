"""Compile the verbs of a network (encode_image, encode_memory, decode) by OpenVINO for CPUs, for fixed shapes.

A model is built when a verb is called with the same shapes for the second time, and cached on disk for later runs;
shapes that occur once, as on the first frame, are left to torch in float32. Each model is compared with torch on the
inputs that it was built from, and not used if it differs.
"""

import logging
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ...model.family import ObjectState
from .differences import LIMITS, differences, tensors_of
from .openvino_cache import Key, model_folder, remove_model, store_model

log = logging.getLogger(__name__)

# Of float32, relative to the largest value of a result; another order of float32 sums differs a hundredth of this.
TOLERANCE = 1e-3


def load_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would send a report on each import and each conversion."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes importing it fail
    import openvino

    return openvino


def shapes_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return, for each leaf of the arguments, its shape if it is a tensor, else its value."""
    return tuple(tuple(x.shape) if isinstance(x, Tensor) else x for x in tree_flatten(arguments)[0])


class CompiledVerb:
    """A verb compiled for one set of shapes and flags, from an OpenVINO model or its file.

    expected: A result of the verb, for its structure. bf16: Whether to compute in bf16 what is not quantised.
    """

    def __init__(self, source: Any, expected: Any, bf16: bool):
        results, self._result = tree_flatten(expected)
        self._count = len(results)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # a pinned thread would wait for its core if another process uses it
        }
        # Compiling a model replaces the signal stack (sigaltstack) of the current thread; freeing the model restores
        # the previous one. If two models are freed in the order of their creation, the second one restores the signal
        # stack of the first, which is freed already, and the next signal would crash the process. Compiling in a
        # thread of its own leaves the signal stack of this thread alone.
        with ThreadPoolExecutor(1) as thread:
            self._request = thread.submit(
                lambda: load_openvino().Core().compile_model(source, "CPU", settings).create_infer_request()
            ).result()

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        inputs = [x.detach().contiguous().numpy() for x in tensors_of(arguments)]
        # OpenVINO returns copies. With preallocated outputs, an output that is an unchanged input would overwrite it.
        outputs = self._request.infer(inputs, share_inputs=True)
        results = [torch.from_numpy(outputs[index]) for index in range(self._count)]
        return tree_unflatten(results, self._result)


class OpenVinoVerbs:
    """A `Network` whose verbs are compiled for each combination of shapes, flags and number of threads.

    network: In torch: evaluation mode, float32, without gradients. folder: Where its models are cached. bf16: Whether
    they compute in bf16. int8: The int8 models to use instead (`Int8`), or None.
    """

    def __init__(self, network: Any, folder: Path, bf16: bool = False, int8: Any = None):
        self.network, self.folder, self.bf16, self.int8 = network, folder, bf16, int8
        self.limits: Mapping[str, float] = LIMITS  # largest accepted difference of bf16 from float32 by verb
        self.conventions, self.sizes = network.conventions, getattr(network, "sizes", None)
        self._models: dict[Key, CompiledVerb | None] = {}  # None: called once so far
        self._in_torch: set[Key] = set()  # left to torch, because the model failed or differed
        self._chunk = 0

    def process_in_chunks(self, count: int) -> None:
        self._chunk = count
        self.network.process_in_chunks(count)

    def empty_state(self, features: Any) -> ObjectState:
        return self.network.empty_state(features)

    def encode_image(self, image: Tensor) -> Any:
        return self._run("encode_image", image)

    def encode_memory(
        self, image: Tensor, features: Any, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        return self._run("encode_memory", image, features, state, masks, deep_update)

    def segment(
        self, features: Any, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        # torch upsamples several times as fast as OpenVINO, and gets a sixteenth of the data this way.
        return self.network.aggregate(*self._run("decode", features, readouts, state, update_state))

    def _run(self, verb: str, *arguments: Any) -> Any:
        key: Key = verb, self._chunk, torch.get_num_threads(), shapes_of(arguments)
        if self.int8 is not None and verb not in self.int8.disabled:
            return self.int8.run(key, arguments)
        if (model := self._models.get(key)) is not None:
            return model(arguments)
        expected = getattr(self.network, verb)(*arguments)
        if key not in self._models:
            self._models[key] = None
        elif key not in self._in_torch:
            self._models[key] = self._compiled(key, arguments, expected)
        return expected

    def _compiled(self, key: Key, arguments: tuple[Any, ...], expected: Any) -> CompiledVerb | None:
        """Return the model of a verb, or None, with a warning, if it fails or its result is not torch's `expected`."""
        problem = "differs from torch's"
        try:
            model = CompiledVerb(self._source(key, arguments), expected, self.bf16)
            if self._agree(key[0], model(arguments), expected):
                return model
        except Exception as error:  # OpenVINO's own types, for example for an unsupported operation
            problem = f"cannot be built ({(str(error).strip() or repr(error)).splitlines()[-1]})"
        remove_model(model_folder(self.folder, key))  # the file may be damaged
        log.warning(f"warning: OpenVINO's {key[0]} {problem}; torch's is used instead")
        self._in_torch.add(key)
        return None

    def _agree(self, verb: str, result: Any, expected: Any) -> bool:
        """Return whether a result equals torch's up to the order of sums, or, in bf16, is within the limit."""
        if self.bf16:
            return max(differences(verb, result, expected)) <= self.limits[verb]
        pairs = zip(tensors_of(result), tensors_of(expected), strict=True)
        return all(bool((x - y).abs().max() <= TOLERANCE * y.abs().max().clamp(1)) for x, y in pairs)

    def _source(self, key: Key, arguments: tuple[Any, ...]) -> Any:
        """Return the file of the cached model; if there is none, convert and cache a model and return that."""
        folder = model_folder(self.folder, key)
        if (folder / "model.xml").is_file():
            return folder / "model.xml"
        log.info(f"OpenVINO: compiling {key[0]} for this size and number of objects; later runs find it in {folder}")
        model = convert(self.network, key[0], arguments)
        store_model(partial(save, model), folder)
        return model


class _Verb(nn.Module):
    """A verb as a module that takes and returns only the tensors of its arguments and results, for tracing."""

    def __init__(self, network: Any, verb: str, arguments: tuple[Any, ...]):
        super().__init__()
        self.network, self.verb = network, verb
        self.leaves, self.structure = tree_flatten(arguments)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(x, Tensor) else x for x in self.leaves]
        return tuple(tensors_of(getattr(self.network, self.verb)(*tree_unflatten(leaves, self.structure))))


def convert(network: Any, verb: str, arguments: tuple[Any, ...]) -> Any:
    """Convert a verb to an OpenVINO model; inputs and outputs are the tensors of its arguments and of its result."""
    openvino = load_openvino()
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns that shapes become constants, which is intended
        own = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, arguments)
        tensors = tuple(tensors_of(own))
        traced = torch.jit.trace(_Verb(network, verb, own), tensors, check_trace=False, strict=False)
        shapes = [openvino.PartialShape(list(x.shape)) for x in tensors]
        return openvino.convert_model(traced, example_input=tensors, input=shapes)


def save(model: Any, folder: Path) -> None:
    """Save an OpenVINO model without compressing its weights."""
    load_openvino().save_model(model, folder / "model.xml", compress_to_fp16=False)
