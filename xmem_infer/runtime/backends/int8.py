"""Run the verbs of a network in int8, quantised by NNCF on frames of the user's video and checked against float32.

For each frame size and number of objects, memory frames of the first video are collected while float32 computes. Most
of them calibrate the models; the others are held out to compare the models with float32. A model that differs too much
is not used. While running, all verbs are also computed in float32 every `EVERY` frames. A verb that differs too much
then falls back to float32 for the rest of the run, and its model is removed, so that the next run builds it from its
own frames.
"""

import contextlib
import io
import logging
import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...model.blocks import ChannelGate, SpatialGate
from ...model.mobile_trunk import MobileTrunk
from .differences import DECODE, IMAGE, LIMITS, MEMORY, VERBS, Comparison, differences, tensors_of
from .openvino_cache import Key, installed_version, model_folder, remove_model, store_model
from .openvino_verbs import CompiledVerb, convert, load_openvino, save, shapes_of

log = logging.getLogger(__name__)

FRAMES, HELD_OUT = 8, 2  # memory frames to collect, and how many of them to hold out from calibration
EVERY = 75  # frames between comparisons: float32 takes up to 2.4 times as long as int8, so they cost less than 5 %
# Gates scale all channels or pixels at once and cost almost no time, but in int8 they alone change J&F of a clip by 1.
GATES = (ChannelGate, SpatialGate)
METHOD = "mixed preset, 6 memory frames, gates and mobile trunks up to stride 4 not quantised"  # in the cache key
REFUSED = "refused"  # name of the file that takes the place of a model that differed too much


class Int8:
    """Int8 models of a network's verbs, cached in `folder`. bf16: whether to compute in bf16 what is not quantised."""

    def __init__(self, network: Any, folder: Path, bf16: bool):
        self.network, self.folder, self.bf16 = network, folder, bf16
        self.limits: Mapping[str, float] = LIMITS  # largest accepted difference from float32 by verb
        self.disabled: set[str] = set()  # verbs that fell back to float32, because they differed while running
        self.frames = 0  # encoded so far
        self.news: deque[Comparison] = deque(maxlen=100)  # comparisons that have not been processed yet
        self._models: dict[Key, CompiledVerb | None] = {}  # None: not built yet, or refused
        self._due: set[str] = set()  # verbs to compare on their next call
        # Since the last memory frame: the last arguments of verbs without a model, and the keys of the missing models.
        self._calls: dict[str, tuple[Any, ...]] = {}
        self._missing: set[Key] = set()
        # By shapes and flags of encode_memory: `_calls` of each collected memory frame, and all missing keys.
        self._collected: dict[Any, tuple[list[dict[str, tuple[Any, ...]]], set[Key]]] = {}
        self._features: tuple[Any, Any, Key] | None = None  # of the frame being compared: int8's, float32's, key

    def run(self, key: Key, arguments: tuple[Any, ...]) -> Any:
        """Return the result of a verb that is not disabled, in int8 if there is a model, else in float32."""
        verb = key[0]
        if verb == IMAGE:
            self.frames += 1
            if self.frames % EVERY == 0:
                self._due.update(VERBS)
        if key not in self._models:
            self._models[key] = self._cached(key, arguments)
            self._due.add(verb)  # the first call of a model is compared
        if (model := self._models[key]) is None:
            result = self._run_float32(verb, arguments)
            if not (model_folder(self.folder, key) / REFUSED).exists():
                self._calls[verb] = arguments
                self._missing.add(key)
        else:
            result = model(arguments)
            if verb in self._due:
                result = self._compare(key, arguments, result)
        if verb == MEMORY and self._missing:
            self._collect(key)
        return result

    def parts(self) -> list[str]:
        """Return the verbs that have int8 models in use."""
        return sorted({key[0] for key, model in self._models.items() if model is not None})

    def _run_float32(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self.network, verb)(*arguments)

    def _cached(self, key: Key, arguments: tuple[Any, ...]) -> CompiledVerb | None:
        folder = model_folder(self.folder, key)
        if not (folder / "model.xml").is_file():
            return None
        expected = self._run_float32(key[0], arguments)
        try:
            return CompiledVerb(folder / "model.xml", expected, self.bf16)
        except Exception as error:  # OpenVINO's own types
            log.warning(f"warning: {folder} cannot be read and is built again: {str(error).strip() or error!r}")
            remove_model(folder)
            return None

    def _compare(self, key: Key, arguments: tuple[Any, ...], result: Any) -> Any:
        """Compare int8's result with float32's; return it, or float32's result if it differs too much."""
        verb, float32_arguments = key[0], arguments
        self._due.discard(verb)
        if verb == DECODE and self._features is not None and self._features[0] is arguments[0]:
            float32_arguments = (self._features[1], *arguments[1:])
        expected = self._run_float32(verb, float32_arguments)
        shares = differences(verb, result, expected)
        holds, at_fault = max(shares) <= self.limits[verb], key
        if verb == IMAGE:
            self._features = result, expected, key
        elif verb == DECODE:
            if not holds and float32_arguments is not arguments and self._features is not None:
                # If float32 gives the same masks from int8's features, the features are at fault.
                with_same_features = differences(verb, result, self._run_float32(verb, arguments))
                at_fault = self._features[2] if max(with_same_features) <= self.limits[verb] else key
            self._features = None
        self.news.append(Comparison(verb, at_fault[0], shares, holds))
        log.debug(f"int8 {verb} differs from fp32 by {', '.join(f'{share:.4f}' for share in shares)}")
        if holds:
            return result
        log.warning(
            f"warning: int8 differs from fp32 by {max(shares):.1%} in {verb}, more than {self.limits[verb]:.0%}; "
            f"{at_fault[0]} continues in fp32"
        )
        self.disabled.add(at_fault[0])
        self._models = {other: model for other, model in self._models.items() if other[0] != at_fault[0]}
        remove_model(model_folder(self.folder, at_fault))
        return expected

    def _collect(self, key: Key) -> None:
        """Add the calls of the memory frame that ends with this call as a sample; build models from enough samples."""
        frames, missing = self._collected.setdefault(key[3], ([], set()))
        frames.append(self._calls)
        missing |= self._missing
        self._calls, self._missing = {}, set()
        if len(frames) == FRAMES:
            del self._collected[key[3]]
            self._build_models(frames, missing)

    def _build_models(self, frames: list[dict[str, tuple[Any, ...]]], missing: set[Key]) -> None:
        for key in sorted(missing, key=repr):
            verb, flags = key[0], [flag for flag in key[3] if not isinstance(flag, tuple)]
            calls = [_with_flags(frame[verb], flags) for frame in frames if verb in frame]
            calls = [call for call in calls if shapes_of(call) == key[3]]
            if len(calls) < FRAMES - 1 or verb in self.disabled:  # -1: the frame of the first mask is not segmented
                continue
            log.info(f"OpenVINO: quantising {verb} for this size and number of objects, seconds to minutes")
            folder = model_folder(self.folder, key)
            try:
                model = self._quantise(verb, calls[:-HELD_OUT])
                compiled = CompiledVerb(model, self._run_float32(verb, calls[0]), self.bf16)
                pairs = [(compiled(call), self._run_float32(verb, call)) for call in calls[-HELD_OUT:]]
                share = max(max(differences(verb, *pair)) for pair in pairs)
                problem = f"differs from fp32 by {share:.1%}" if share > self.limits[verb] else ""
            except Exception as error:  # NNCF's and OpenVINO's own types
                problem = f"cannot be built ({(str(error).strip() or repr(error)).splitlines()[-1]})"
            if problem:
                log.warning(f"warning: {verb} in int8 {problem}; it stays in fp32")
                store_model(partial(_write_refusal, problem), folder)
            else:
                log.info(f"OpenVINO: {verb} in int8 differs from fp32 by {share:.1%}; later runs find it in {folder}")
                store_model(partial(save, model), folder)
                self._models[key] = compiled

    def _quantise(self, verb: str, calls: list[tuple[Any, ...]]) -> Any:
        """Return an OpenVINO model of a verb in int8, except for `_not_quantised`, calibrated on `calls`."""
        load_openvino()  # before NNCF imports it: this disables its telemetry
        excluded = _not_quantised(self.network)
        modules = self.network.named_modules()
        patterns = [rf".*\.{re.escape(name)}[./].*" for name, module in modules if module in excluded]
        with contextlib.redirect_stdout(io.StringIO()):  # hides NNCF's progress bars
            import nncf

            nncf.set_log_level(logging.ERROR)
            quantise = partial(
                nncf.quantize,
                convert(self.network, verb, calls[0]),
                nncf.Dataset([[x.detach().contiguous().numpy() for x in tensors_of(call)] for call in calls]),
                subset_size=len(calls),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(patterns=patterns, validate=False),
            )
            with ThreadPoolExecutor(1) as thread:  # because it compiles models: see `CompiledVerb`
                return thread.submit(quantise).result()


def _not_quantised(network: Any) -> list[nn.Module]:
    """Return the modules not to quantise: `float32_parts`, gates, and the first layers of mobile trunks.

    Errors in those layers propagate through all others: with them in int8 the features differ by 22 % instead of 7 %
    and one clip loses a point of J&F. They would not be faster in int8 either, since at their resolution they are
    limited by memory bandwidth.
    """
    parts: list[nn.Module] = [*network.float32_parts()]
    for module in network.modules():
        if isinstance(module, GATES):
            parts.append(module)
        elif isinstance(module, MobileTrunk):
            parts += [module.stem, module.layer1]
    return parts


def _write_refusal(reason: str, folder: Path) -> None:
    (folder / REFUSED).write_text(reason, encoding="utf-8")


def int8_toolchain() -> str | None:
    """Return the version of NNCF and the method by which int8 models are built; None if NNCF is not installed."""
    nncf = installed_version("nncf")
    return f"nncf {nncf}, {METHOD}" if nncf else None


def _with_flags(arguments: tuple[Any, ...], flags: list[Any]) -> tuple[Any, ...]:
    """Return the arguments with the same tensors and other flags."""
    leaves, structure = tree_flatten(arguments)
    rest = iter(flags)
    return tree_unflatten([x if isinstance(x, Tensor) else next(rest) for x in leaves], structure)
