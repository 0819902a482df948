"""Exported cut-outs and videos, read back."""

from fractions import Fraction

import av
import numpy as np
import pytest
from dataset_trees import save_mask
from PIL import Image

from xmem_infer.config import DataConfig
from xmem_infer.export.run import export_masks
from xmem_infer.io.frames import open_frames

FRAMES, HEIGHT, WIDTH, FPS = 5, 70, 94, Fraction(25, 2)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video with sound and its masks: a moving square on a gradient."""
    folder = tmp_path_factory.mktemp("film")
    masks = folder / "film"
    masks.mkdir()
    with av.open(str(folder / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "10"}
        sound = container.add_stream("aac", rate=44100)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        for index in range(FRAMES):
            picture = np.dstack([x + 20 * index, 2 * y, 255 - x - y]).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[10:40, 10 + 8 * index : 45 + 8 * index] = 1 + index % 2
            save_mask(masks / f"{index:05d}.png", mask)
        samples = (8000 * np.sin(np.arange(int(44100 * FRAMES / FPS)) / 20)).astype(np.int16)
        block = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        block.sample_rate = 44100
        container.mux(sound.encode(block))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    return folder / "film.mp4", masks


@pytest.fixture
def exported(film, tmp_path):
    video, masks = film

    def export(kind, **options):
        return export_masks(kind, masks, tmp_path, open_frames(video, DataConfig()), source=video, **options)

    return export


@pytest.fixture(scope="module")
def truth(film):
    video, masks = film
    pictures = [frame.image for frame in open_frames(video, DataConfig())]
    return pictures, [np.array(Image.open(path)) for path in sorted(masks.iterdir())]


def test_cut_out_pictures_are_exact(exported, truth):
    for picture, mask, path in zip(*truth, sorted(exported("cutout_png").iterdir()), strict=True):
        read = np.array(Image.open(path))
        assert np.array_equal(read[..., 3], 255 * (mask > 0))
        assert np.array_equal(read[..., :3], picture * (mask > 0)[..., None])


def decoded(path, decoder=None):
    """Return the frames as RGBA, decoded by the named decoder, and the codec names of the streams."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == FPS
        codecs = {one.type: one.codec_context.name for one in container.streams}
        if decoder is None:
            frames = list(container.decode(stream))
        else:
            context = av.CodecContext.create(decoder, "r")
            frames = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
    times = [float(frame.pts * frame.time_base) for frame in frames]
    assert times == pytest.approx([float(index / FPS) for index in range(FRAMES)], abs=0.002)
    return [frame.to_ndarray(format="rgba") for frame in frames], codecs


def close(read, picture, limit):
    return np.abs(read.astype(int) - picture).mean() < limit


def test_prores_keeps_alpha_exactly_and_sound(exported, truth):
    read, codecs = decoded(exported("prores4444"))
    assert codecs == {"video": "prores", "audio": "aac"}
    for picture, mask, frame in zip(*truth, read, strict=True):
        assert np.array_equal(frame[..., 3], 255 * (mask > 0))
        assert close(frame[..., :3], picture, 4)


def test_webm_has_alpha_and_sound_that_browsers_take(exported, truth):
    read, codecs = decoded(exported("webm_alpha"), "libvpx-vp9")
    assert codecs["audio"] == "opus"
    for picture, mask, frame in zip(*truth, read, strict=True):
        seen, true = frame[..., 3] > 127, mask > 0
        assert (seen & true).sum() / (seen | true).sum() > 0.97
        assert close(frame[..., :3], picture, 8)


def test_green_screen_is_green_around_objects(exported, truth):
    read, codecs = decoded(exported("green_screen", objects=[1]))
    assert codecs == {"video": "h264", "audio": "aac"}
    for picture, mask, frame in zip(*truth, read, strict=True):
        ours = np.where((mask == 1)[..., None], picture, np.array((0, 255, 0)))
        assert close(frame[..., :3], ours, 8)


def test_overlay_uses_the_requested_colours(exported, truth):
    read, _ = decoded(exported("overlay", colours={1: (250, 250, 0), 2: (250, 250, 0)}))
    for picture, mask, frame in zip(*truth, read, strict=True):
        change = (frame[..., :3].astype(int) - picture)[mask > 0].mean(0)
        assert change[2] < change[0]
