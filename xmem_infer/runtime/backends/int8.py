"""The verbs of a network in int8, quantised by NNCF on frames of the user's video, compared with float32 as they run.

Memory frames of the first video of a size and number of objects are collected while float32 computes; models are made
of most of them and compared with float32 on the others. What differs there is not used. Every `EVERY` frames all verbs
run in float32 too. A part that differs there is left to float32 from then on, and its model is removed, so that the
next run makes it of its own frames.
"""

import contextlib
import io
import logging
import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...model.blocks import ChannelGate, SpatialGate
from ...model.mobile_trunk import MobileTrunk
from .openvino_verbs import CompiledVerb, Key, converted, forget, keep, load_openvino, model_folder, save, tensors_of

log = logging.getLogger(__name__)

IMAGE, MEMORY, SEGMENT = VERBS = "encode_image", "encode_memory", "segment"
FRAMES, HELD_OUT = 8, 2  # memory frames that are collected; how many of them models are compared on
EVERY = 75  # frames: float32 takes up to 2.4 times as long as int8, so that comparing costs less than 5 %
# Of masks, the pixels that differ in those of either mask; of numbers, the norm of the difference in that of float32's.
LIMITS = {IMAGE: 0.25, MEMORY: 0.25, SEGMENT: 0.1}
SMALL = 0.001  # of the picture: the pixels of a smaller object are counted as if it were so large
# Gates scale all channels or pixels at once and cost next to nothing: in int8 they alone move J&F of a clip by 1.
GATES = (ChannelGate, SpatialGate)
METHOD = "mixed preset, 6 memory frames, gates and mobile trunks up to stride 4 in fp32"  # others' models are not used
REFUSED = "refused"  # a file in the place of a model that differed


@dataclass(frozen=True)
class Comparison:
    """Int8 and float32 on the same frame.

    Attributes:
        verb: What was compared.
        part: The verb at fault where it does not hold: `encode_image` if masks differ because of its features.
        shares: How far they differ, see `LIMITS`: of each object's mask, or of all numbers.
        holds: Whether that is within the limit.
    """

    verb: str
    part: str
    shares: tuple[float, ...]
    holds: bool


class Int8:
    """Int8 models of a network's verbs.

    Attributes:
        limits: How far a verb may differ from float32, see `LIMITS`.
        fallen: The verbs that are left to float32, because they differed while running.
        frames: How many frames were encoded.
        news: What was compared, until somebody takes it.
    """

    def __init__(self, network: Any, folder: Path):
        self.network, self.folder = network, folder
        self.limits: Mapping[str, float] = LIMITS
        self.fallen: set[str] = set()
        self.frames = 0
        self.news: deque[Comparison] = deque(maxlen=100)
        self._models: dict[Key, CompiledVerb | None] = {}  # None: not made yet, or refused
        self._due: set[str] = set()  # verbs whose next call is compared
        self._calls: dict[str, tuple[Any, ...]] = {}  # the last arguments of verbs without a model,
        self._wanted: set[Key] = set()  # and what they lacked, since the last memory frame
        self._collected: dict[Any, tuple[list[dict[str, tuple[Any, ...]]], set[Key]]] = {}
        self._features: tuple[Any, Any, Key] | None = None  # those of the compared frame: int8, float32

    def run(self, verb: str, key: Key, arguments: tuple[Any, ...]) -> Any:
        """The result of a verb that has not fallen."""
        if verb == IMAGE:
            self.frames += 1
            if self.frames % EVERY == 0:
                self._due.update(VERBS)
        if key not in self._models:
            self._load(key, arguments)
        model = self._models[key]
        if model is None:
            found = self._exact(verb, arguments)
            if not (model_folder(self.folder, key) / REFUSED).exists():
                self._calls[verb] = arguments
                self._wanted.add(key)
        else:
            found = model(arguments)
            if verb in self._due:
                found = self._compared(key, arguments, found)
        if verb == MEMORY and self._wanted:
            self._collect(key)
        return found

    def parts(self) -> list[str]:
        """The verbs that have int8 models in use."""
        return sorted({key[0] for key, model in self._models.items() if model is not None})

    def _exact(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self.network, verb)(*arguments)

    def _load(self, key: Key, arguments: tuple[Any, ...]) -> None:
        folder = model_folder(self.folder, key)
        self._models[key] = None
        if (folder / "model.xml").is_file():
            expected = self._exact(key[0], arguments)
            try:
                self._models[key] = CompiledVerb(folder / "model.xml", expected)
            except Exception as error:  # OpenVINO's own kinds
                log.warning(f"warning: {folder} cannot be read, and is made again: {str(error).strip() or error!r}")
                forget(folder)
        self._due.add(key[0])  # the first call of a model is compared

    def _compared(self, key: Key, arguments: tuple[Any, ...], found: Any) -> Any:
        """What was found by int8, or float32's result where it differs."""
        verb, own = key[0], arguments
        self._due.discard(verb)
        if verb == SEGMENT and self._features is not None and self._features[0] is arguments[0]:
            own = (self._features[1], *arguments[1:])
        expected = self._exact(verb, own)
        shares = differences(verb, found, expected)
        holds, at_fault = max(shares) <= self.limits[verb], key
        if verb == IMAGE:
            self._features = found, expected, key
        elif verb == SEGMENT:
            if not holds and own is not arguments and self._features is not None:
                same = differences(verb, found, self._exact(verb, arguments))
                at_fault = self._features[2] if max(same) <= self.limits[verb] else key
            self._features = None
        self.news.append(Comparison(verb, at_fault[0], shares, holds))
        log.debug(f"int8 {verb} differs from fp32 by {', '.join(f'{share:.4f}' for share in shares)}")
        if holds:
            return found
        log.warning(
            f"warning: int8 differs from fp32 by {max(shares):.1%} in {verb}, more than {self.limits[verb]:.0%}; "
            f"{at_fault[0]} goes on in fp32"
        )
        self.fallen.add(at_fault[0])
        self._models = {other: model for other, model in self._models.items() if other[0] != at_fault[0]}
        forget(model_folder(self.folder, at_fault))
        return expected

    def _collect(self, key: Key) -> None:
        """Take the memory frame that ends with this call as a sample; make models when there are enough."""
        frames, wanted = self._collected.setdefault(key[3], ([], set()))
        frames.append(self._calls)
        wanted |= self._wanted
        self._calls, self._wanted = {}, set()
        if len(frames) == FRAMES:
            del self._collected[key[3]]
            self._make(frames, wanted)

    def _make(self, frames: list[dict[str, tuple[Any, ...]]], wanted: set[Key]) -> None:
        for key in sorted(wanted, key=repr):
            verb, shapes = key[0], [shape for shape in key[3] if isinstance(shape, tuple)]
            flags = [flag for flag in key[3] if not isinstance(flag, tuple)]
            calls = [_with_flags(frame[verb], flags) for frame in frames if verb in frame]
            calls = [call for call in calls if [tuple(x.shape) for x in tensors_of(call)] == shapes]
            if len(calls) < FRAMES - 1 or verb in self.fallen:  # the first mask's frame is not segmented
                continue
            log.info(f"OpenVINO: quantising {verb} for this size and number of objects, seconds to minutes")
            folder = model_folder(self.folder, key)
            try:
                model = self._quantised(verb, calls[:-HELD_OUT])
                compiled = CompiledVerb(model, self._exact(verb, calls[0]))
                pairs = [(compiled(call), self._exact(verb, call)) for call in calls[-HELD_OUT:]]
                share = max(max(differences(verb, *pair)) for pair in pairs)
                wrong = f"differs from fp32 by {share:.1%}" if share > self.limits[verb] else ""
            except Exception as error:  # NNCF's and OpenVINO's own kinds
                wrong = f"cannot be made ({(str(error).strip() or repr(error)).splitlines()[-1]})"
            if wrong:
                log.warning(f"warning: {verb} in int8 {wrong}; it stays in fp32")
                keep(partial(_refuse, wrong), folder)
            else:
                log.info(f"OpenVINO: {verb} in int8 differs from fp32 by {share:.1%}; later runs find it in {folder}")
                keep(partial(save, model), folder)
                self._models[key] = compiled

    def _quantised(self, verb: str, calls: list[tuple[Any, ...]]) -> Any:
        """An OpenVINO model in int8, but for `_exact_parts`."""
        load_openvino()  # before NNCF: see there
        exact = _exact_parts(self.network)
        kept = [name for name, one in self.network.named_modules() if one in exact]
        with contextlib.redirect_stdout(io.StringIO()):  # NNCF's progress
            import nncf

            nncf.set_log_level(logging.ERROR)
            quantise = partial(
                nncf.quantize,
                converted(self.network, verb, calls[0]),
                nncf.Dataset([[x.detach().contiguous().numpy() for x in tensors_of(call)] for call in calls]),
                subset_size=len(calls),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(
                    patterns=[rf".*\.{re.escape(name)}[./].*" for name in kept], validate=False
                ),
            )
            with ThreadPoolExecutor(1) as another:  # it compiles models: see `CompiledVerb`
                return another.submit(quantise).result()


def _exact_parts(network: Any) -> list[nn.Module]:
    """What stays in float32: what the network names, gates, and the first layers of mobile trunks.

    Those layers' errors go through all others: with them the features differ by 22 % instead of 7, one clip loses a
    point of J&F, and nothing is gained, since at these sizes they wait for memory.
    """
    parts: list[nn.Module] = [*network.float32_parts()]
    for module in network.modules():
        if isinstance(module, GATES):
            parts.append(module)
        elif isinstance(module, MobileTrunk):
            parts += [module.stem, module.layer1]
    return parts


def int8_maker() -> str | None:
    """What makes int8 models, NNCF's version included; None where that is not installed."""
    try:
        return f"nncf {version('nncf')}, {METHOD}" if find_spec("nncf") else None
    except (PackageNotFoundError, ValueError):
        return None


def differences(verb: str, found: Any, expected: Any) -> tuple[float, ...]:
    """How far two results of a verb differ, see `LIMITS`: of `segment` by object, otherwise the farthest tensor."""
    if verb != SEGMENT:
        pairs = zip(tensors_of(found), tensors_of(expected), strict=True)
        return (max(float((x - y).norm() / y.norm().clamp(min=1e-9)) for x, y in pairs),)
    masks, other = found[2].argmax(1), expected[2].argmax(1)
    shares = []
    for slot in range(1, expected[2].shape[1]):
        mine, its = masks == slot, other == slot
        shares.append(float((mine ^ its).sum() / (mine | its).sum().clamp(min=SMALL * its.numel())))
    return tuple(shares)


def _refuse(why: str, folder: Path) -> None:
    (folder / REFUSED).write_text(why, encoding="utf-8")


def _with_flags(arguments: tuple[Any, ...], flags: list[Any]) -> tuple[Any, ...]:
    """The same tensors with other flags."""
    leaves, structure = tree_flatten(arguments)
    rest = iter(flags)
    changed: tuple[Any, ...] = tree_unflatten([x if isinstance(x, Tensor) else next(rest) for x in leaves], structure)
    return changed
