"""int8 models: calibrated on the video, cached, compared with fp32 during the run, disabled if they differ."""

import csv
import importlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import ROOT, in_process
from PIL import Image

from xmem_infer.config import DataConfig, GradMode, MemoryConfig, Precision, RuntimeConfig
from xmem_infer.errors import UsageError
from xmem_infer.lab.training.validation import find_clips, score, tracker
from xmem_infer.predictor import Segmenter
from xmem_infer.runtime import choice
from xmem_infer.runtime.backends import int8, prepare
from xmem_infer.runtime.backends.differences import DECODE, LIMITS, MEMORY, VERBS, differences
from xmem_infer.runtime.backends.openvino_cache import models_folder
from xmem_infer.runtime.backends.openvino_verbs import CompiledVerb, load_openvino
from xmem_infer.runtime.precision import candidates
from xmem_infer.weights.build import load_network
from xmem_infer.weights.manifest import embedded_model

EXAMPLE = ROOT / "examples" / "clip"
DEV = ROOT.parent / "shared" / "data" / "davis2016_dev"
CPU = torch.device("cpu")
FRAMES = 16
FIXED = ("data.size=-1", "memory.memory_every=1", "runtime.threads=1", "runtime.precision=int8")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(Folder of frames, frames, first mask) of a clip of 108 x 60 px; the mask file is next to the folder."""
    folder, image = tmp_path_factory.mktemp("clip"), EXAMPLE / "JPEGImages/scene/00000.jpg"
    image = Image.open(image if image.exists() else image.with_suffix(".png")).convert("RGB").resize((108, 60))
    mask = Image.open(EXAMPLE / "Annotations/scene/00000.png").resize((108, 60), 0).point(lambda value: value == 1)
    for t in range(FRAMES):
        image.save(folder / f"{t:02}.png")
    mask.save(folder.with_suffix(".png"))
    return folder, [np.array(image)] * FRAMES, np.array(mask)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache to which the first test writes the clip's models for the other tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(made, clip, tmp_path, monkeypatch):
    """run(name, key=value) -> (log, entry in run.json, masks, shares in the confidence table)."""
    if int8.int8_toolchain() is None:
        pytest.skip("the extra int8 is not installed")
    monkeypatch.setattr(int8, "EVERY", 4)
    for verb in VERBS:
        monkeypatch.setitem(LIMITS, verb, 0.9)  # the network has low confidence on such small images

    def start(name, *settings):
        given = (f"video_dir={clip[0]}", f"weights={embedded_model()}", f"output_dir={name}", *FIXED, *settings)
        given = {setting.partition("=")[0]: setting for setting in given}.values()
        done = in_process("eval.py", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        out = tmp_path / name
        masks = [np.array(Image.open(path)) for path in sorted((out / "masks").glob("*/*.png"))]
        entry = json.loads((out / "run.json").read_text())["videos"][clip[0].name]
        with open(out / "confidence" / f"{clip[0].name}.csv", newline="") as file:
            shares = {row["frame"]: float(row["int8_differs"]) for row in csv.DictReader(file) if row["int8_differs"]}
        return done.stderr, entry, masks, shares

    if not any(made.iterdir()):
        monkeypatch.setenv("XDG_CACHE_HOME", str(made))
        said, entry, masks, shares = start("first")
        assert said.count("quantising") == 3 and said.count("in int8 differs from fp32 by") == 3
        assert len(masks) == FRAMES and entry["int8"]["went_back"] == [] and shares
    shutil.copytree(made, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return start


def expected_masks(clip, left_after=None):
    """Return the masks of the clip in int8, with the decoder in fp32 after `left_after` frames."""
    runtime = RuntimeConfig(precision=Precision.int8, threads=1)
    segmenter = Segmenter.from_weights(embedded_model(), MemoryConfig(memory_every=1), runtime, DataConfig(size=-1))
    results, masks = segmenter.segment(clip[1], clip[2]), []
    for count in range(FRAMES):
        if count == left_after:
            segmenter.prepared.network.int8.disabled.add(DECODE)
        masks.append(next(results).mask)
    return masks


@pytest.mark.slow
def test_models_are_cached_and_compared_during_the_run(run, clip):
    said, entry, masks, shares = run("second")
    assert "quantising" not in said
    assert entry["int8"]["parts"] == sorted(VERBS) and entry["int8"]["compared"] > 9
    assert {"03", "07", "11", "15"} <= shares.keys()
    assert max(shares.values()) == pytest.approx(entry["int8"]["largest_share_of_a_mask"], abs=1e-4)
    assert np.array_equal(masks, expected_masks(clip))
    _, _, exact, _ = run("exact", "runtime.precision=fp32", "runtime.variant=fast")
    assert np.mean(np.not_equal(masks, exact)) < 0.1


@pytest.mark.slow
@pytest.mark.fault("damaged int8 model in the cache", "warning; the model is quantised again")
def test_a_damaged_int8_model_is_rebuilt(run, tmp_path):
    weights = next((tmp_path / "cache").rglob("encode_memory-*/model.bin"))
    weights.write_bytes(weights.read_bytes()[:1000])
    said, entry, _, _ = run("damaged")
    assert "encode_memory-" in said and "cannot be read and is built again" in said
    assert said.count("quantising") == said.count("quantising encode_memory") > 0
    assert entry["int8"]["parts"] == sorted(VERBS)
    assert weights.stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.fault("int8 masks that differ from fp32 masks", "warning; frames since the last match are redone in fp32")
@pytest.mark.parametrize(("settings", "kept"), [((), 8), (("output.scores=true",), 0)])
def test_frames_since_int8_differed_are_redone_in_fp32(run, clip, monkeypatch, settings, kept):
    expected, answer, calls = expected_masks(clip, left_after=kept), CompiledVerb.__call__, []

    def wrong(self, arguments):
        found = answer(self, arguments)
        if isinstance(found[0], dict):  # of `decode`
            calls.append(1)
            if len(calls) in (9, 10, 11):  # spoils frames 9 to 11; 3 and 7 were compared, 11 is next
                return found[0], -found[1]
        return found

    monkeypatch.setattr(CompiledVerb, "__call__", wrong)
    said, entry, masks, shares = run("back", *settings)
    assert "more than 90%; decode continues in fp32" in said and "are segmented again" in said
    assert ("resumes after 8 frames" in said) == (kept == 8)
    (went_back,) = entry["int8"]["went_back"]
    assert went_back == {"frame": "11", "part": "decode", "share": went_back["share"], "frames_kept": kept}
    assert went_back["share"] > 0.9 and shares["11"] == pytest.approx(went_back["share"], abs=1e-4)
    assert entry["int8"]["parts"] == ["encode_image", "encode_memory"] and entry["frames"] == FRAMES
    assert np.array_equal(masks, expected)
    assert run("next")[0].count("quantising decode") == 1  # calibrated on the frames of this run


@pytest.mark.slow
def test_auto_uses_int8_with_cached_models_where_it_is_faster(run, monkeypatch):
    network = load_network(embedded_model()).network
    expected = {True: Precision.int8, False: candidates(CPU)[0]}
    for faster, precision in expected.items():
        monkeypatch.setattr(choice, "int8_is_faster", lambda faster=faster: faster)
        assert choice.choose(network, RuntimeConfig(), CPU)[0].precision is precision
    shutil.rmtree(models_folder(network, int8.int8_toolchain()))
    monkeypatch.setattr(choice, "int8_is_faster", lambda: True)
    assert choice.choose(network, RuntimeConfig(), CPU)[0].precision is candidates(CPU)[0]


def test_masks_are_compared_object_by_object():
    def result(labels):
        masks = torch.nn.functional.one_hot(torch.tensor(labels), 3).permute(2, 0, 1)[None, 1:]
        return {}, 8.0 * masks - 4

    one, other = np.zeros((64, 64), int), np.zeros((64, 64), int)
    one[:8, :8], other[:8, :4] = 1, 1
    one[32, 32] = 2  # one pixel of 4096: at most a quarter of what counts as small
    shares = differences(DECODE, result(one), result(other))
    assert shares == pytest.approx((0.5, 1 / 4.096))
    value = torch.ones(1, 1, 4, 4, 4)
    assert differences(MEMORY, (value, {}), (value * 0.9, {})) == pytest.approx((1 / 9,))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variant": "fast"}, "int8 needs runtime.variant=openvino, not fast"),
        ({"grad_mode": GradMode.enable_grad}, "int8 needs runtime.variant=openvino, not eager"),
    ],
)
@pytest.mark.fault("int8 with a backend that does not support it ({settings})", "error before a network is loaded")
def test_int8_is_refused_for_backends_without_it(settings, words, tiny_network):
    runtime = RuntimeConfig(precision=Precision.int8, **settings)
    for refused in (lambda: choice.check_runtime(runtime, CPU), lambda: choice.choose(tiny_network, runtime, CPU)):
        with pytest.raises(UsageError, match=words):
            refused()


@pytest.mark.fault("int8 on a GPU or without NNCF", "error before a network is loaded, with a remedy")
def test_int8_without_nncf_or_on_a_gpu_is_refused(monkeypatch):
    runtime = RuntimeConfig(precision=Precision.int8)
    with pytest.raises(UsageError, match="int8 is for CPUs, the device is cuda"):
        choice.check_runtime(runtime, torch.device("cuda"))
    monkeypatch.setattr(prepare, "openvino_version", lambda: "1")
    monkeypatch.setattr(prepare, "int8_toolchain", lambda: None)
    with pytest.raises(UsageError, match=r"xmem-infer\[int8\]"):
        choice.check_runtime(runtime, CPU)


@pytest.mark.slow
@pytest.mark.skipif(not DEV.is_dir(), reason=f"there are no clips in {DEV}")
def test_int8_scores_as_fp32_on_real_clips(tmp_path, monkeypatch):
    """The two clips whose scores int8 changed most; models are calibrated on the first frames of the first clip."""
    if int8.int8_toolchain() is None:
        pytest.skip("the extra int8 is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clips, scores = find_clips(DEV, ["car-turn", "dog-agility"], frames=25), []
    for precision in (Precision.int8, Precision.fp32):
        network, runtime = load_network(embedded_model()).network, RuntimeConfig(precision=precision)
        if precision is Precision.int8:
            track = tracker(network, 480, runtime, MemoryConfig(memory_every=2))
            track(replace(clips[0], pictures=clips[0].pictures[:17], masks=clips[0].masks[:17]))
            assert len(list(tmp_path.rglob("model.xml"))) == 4
        track = tracker(network, 480, runtime, MemoryConfig())
        scores.append([100 * score(clip, track).measures.overall for clip in clips])
    quantised, exact = np.array(scores)
    assert (quantised > exact - 1).all() and np.mean(quantised) > np.mean(exact) - 0.5


def test_openvino_telemetry_is_disabled(openvino_models):
    load_openvino()
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")
