"""Overlay videos: visible colours, object ids, and the sound of the source."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from xmem_infer.io.palette import visible_colours
from xmem_infer.outputs.overlay import MIN_DISTANCE, ObjectColours, lab, write_ids

SIZE = (96, 128)


def disc(object_id=1):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.where((y - 48) ** 2 + (x - 60) ** 2 < 900, object_id, 0).astype(np.uint8)


def painted(colour, ids):
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[ids > 0] = colour
    return image


@pytest.mark.parametrize("colour", [(200, 10, 10), (120, 20, 20), (255, 60, 60)])
def test_red_on_a_red_car_takes_another_colour(colour):
    colours = ObjectColours(None)
    colours.update(painted(colour, disc()), disc())
    own, drawn = lab(np.array([colour], np.uint8)), lab(colours.table[1][None])
    assert np.linalg.norm(own - drawn) > MIN_DISTANCE


def test_a_visible_colour_is_kept_for_the_whole_video():
    colours = ObjectColours(None)
    colours.update(painted((10, 10, 200), disc()), disc())
    assert (colours.table == visible_colours(None)).all()
    colours.update(painted((200, 10, 10), disc()), disc())  # the object turns red later
    assert (colours.table == visible_colours(None)).all()


def test_ids_are_written_inside_their_object():
    picture = painted((0, 90, 0), disc(7))
    write_ids(picture, disc(7))
    changed = (picture != painted((0, 90, 0), disc(7))).any(2)
    assert changed.sum() > 20
    assert (disc(7)[changed] == 7).all()
    assert picture[changed].max() > 200


def write_video(path, audio_codec, seconds=2):
    """A video of noise with a tone, from 0 s to its end."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        audio = container.add_stream(audio_codec, rate=48000, layout="stereo") if audio_codec else None
        for t in range(25 * seconds):
            pixels = np.random.default_rng(t).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        if audio is None:
            return
        tone = np.sin(np.arange(48000 * seconds) * 0.06).astype(np.float32)
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="stereo", rate=48000)
        for start in range(0, len(tone), 1000):
            frame = av.AudioFrame.from_ndarray(
                np.stack([tone[start : start + 1000]] * 2), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = 48000, start
            for piece in resampler.resample(frame):
                container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


@pytest.mark.parametrize(("ending", "codec", "written"), [("mp4", "aac", "aac"), ("avi", "pcm_s16le", "aac")])
def test_the_overlay_keeps_the_sound(tmp_path, command, ending, codec, written):
    write_video(tmp_path / f"clip.{ending}", codec)
    Image.fromarray(disc()).save(tmp_path / "clip.png")
    code, said = command(f"video_dir=clip.{ending}")
    assert code == 0, said
    with av.open(str(tmp_path / "out" / "overlay" / "clip.mp4")) as container:
        [stream] = container.streams.audio
        assert stream.codec_context.name == written
        frames = [frame for frame in container.decode(stream)]
        seconds = sum(frame.samples for frame in frames) / 48000
        assert abs(seconds - 2) < 0.1
        assert max(float(np.abs(frame.to_ndarray()).max()) for frame in frames) > 0.3


def test_a_video_without_sound_has_an_overlay_without(tmp_path, command):
    write_video(tmp_path / "clip.mp4", None)
    Image.fromarray(disc()).save(tmp_path / "clip.png")
    assert command("video_dir=clip.mp4")[0] == 0
    with av.open(str(Path("out") / "overlay" / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
