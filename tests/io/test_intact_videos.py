import struct
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import FAIL, make_video, plain_decode, scene

from xmem_infer.io.frames import FrameSource, open_frames
from xmem_infer.io.video import VideoFile

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def patch_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write (a b; c d) into the track header of an MP4, as phones do for rotated recordings."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


class TestSound:
    @pytest.mark.parametrize(
        ("name", "codec", "pix_fmt"),
        [
            ("v.mp4", "libx264", "yuv420p"),
            ("v.mkv", "libx264", "yuv420p"),
            ("v.mov", "mpeg4", "yuv420p"),
            ("v.avi", "mpeg4", "yuv420p"),
            ("order.avi", "libx264", "yuv420p"),  # B-frames without presentation times
            ("v.flv", "libx264", "yuv420p"),
            ("v.mpg", "mpeg2video", "yuv420p"),
            ("v10.mov", "prores_ks", "yuv422p10le"),
            ("v.webm", "libvpx-vp9", "yuv420p"),
            ("v8.webm", "libvpx", "yuv420p"),
            ("v.ts", "libx264", "yuv420p"),
            ("v10.mp4", "libx264", "yuv420p10le"),
            ("v444.mkv", "ffv1", "yuv444p10le"),
            ("gray.mkv", "ffv1", "gray"),
        ],
    )
    def test_every_frame_once_with_ffmpegs_pixels(self, tmp_path, name, codec, pix_fmt):
        path = make_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
        source = open_frames(path, FAIL)
        frames = list(source)
        assert isinstance(source, FrameSource)
        assert (source.name, source.size, source.stems) == (path.stem, (96, 128), None)
        assert source.count in (30, None)
        assert source.fps == pytest.approx(25, rel=0.01)
        assert source.warnings == []
        assert [f.index for f in frames] == list(range(30))
        assert [f.name for f in frames] == [f"{i:05d}" for i in range(30)]
        expected = plain_decode(path)
        assert len(expected) == 30
        for frame, pixels in zip(frames, expected, strict=True):
            assert (frame.image == pixels).all()
            assert frame.image.dtype == np.uint8
            assert frame.image.flags.writeable
            assert frame.corrupt is None
        times = np.array([f.time_s for f in frames])
        if name != "order.avi":
            assert np.allclose(np.diff(times), 0.04, atol=0.0011)

    def test_frames_are_correct_and_in_order(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", frames=60, options={"bf": "3"})
        brightness = [f.image.mean() for f in VideoFile(path, FAIL)]
        expected = [scene(i, 96, 128).mean() for i in range(60)]
        assert np.abs(np.array(brightness) - expected).max() < 1.5  # half the step between frames

    @pytest.mark.parametrize("size", [(97, 131), (17, 16), (2, 2)])
    def test_odd_and_tiny_sizes(self, tmp_path, size):
        path = make_video(tmp_path / "v.mkv", 3, "ffv1", size, "yuv444p")
        source = VideoFile(path, FAIL)
        assert source.size == size
        assert [f.image.shape for f in source] == [(*size, 3)] * 3

    @pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
    def test_one_frame(self, tmp_path, name):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        source = VideoFile(make_video(tmp_path / name, 1, codec), FAIL)
        assert [f.name for f in source] == ["00000"]
        assert source.warnings == []

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("opengop.mp4", {"x264-params": "open-gop=1:keyint=8:bframes=3"}),
            ("refresh.ts", {"x264-params": "intra-refresh=1:keyint=10"}),
            ("interlaced.ts", {"flags": "+ildct+ilme"}),
        ],
    )
    def test_unusual_coding(self, tmp_path, name, options):
        source = VideoFile(make_video(tmp_path / name, 30, options=options), FAIL)
        assert len(list(source)) == 30
        assert source.warnings == []

    def test_raw_stream_without_times(self, tmp_path):
        frames = list(VideoFile(make_video(tmp_path / "v.h264", 30), FAIL))
        assert len(frames) == 30
        brightness = np.array([f.image.mean() for f in frames])
        assert (np.diff(brightness) > 1).all()

    def test_variable_frame_rate_gives_one_frame_per_coded_frame(self, tmp_path):
        pts = [0, 40, 80, 200, 210, 220, 600, 633, 700, 1000]
        for name in ("v.mkv", "v.mp4"):
            source = VideoFile(make_video(tmp_path / name, 10, pts=pts), FAIL)
            frames = list(source)
            assert [round(f.time_s * 1000) for f in frames] == pts
            assert source.warnings == []

    def test_it_can_be_iterated_again_and_left_halfway(self, tmp_path):
        source = VideoFile(make_video(tmp_path / "v.mp4"), FAIL)
        frames = iter(source)
        first = next(frames)
        frames.close()
        again = list(source)
        assert len(again) == 30
        assert (again[0].image == first.image).all()

    def test_it_can_be_read_in_a_thread(self, tmp_path):
        source = VideoFile(make_video(tmp_path / "v.mp4"), FAIL)
        seen = []
        thread = threading.Thread(target=lambda: seen.extend(source))
        thread.start()
        thread.join()
        assert len(seen) == 30

    def test_special_file_names(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 3)
        for name in ("http:%03d #?&.mp4", "größe.v1.mp4", "-i.mp4"):
            source = VideoFile(path.rename(tmp_path / name), FAIL)
            path = tmp_path / name
            assert source.name == name[:-4]
            assert len(list(source)) == 3

    def test_frames_removed_by_an_edit_list_are_not_reported(self, tmp_path):
        plain = make_video(tmp_path / "v.mp4", 40, options={"g": "10", "bf": "0"})
        trimmed = tmp_path / "trimmed.mp4"
        with (
            av.open(str(plain)) as source,
            av.open(str(trimmed), "w", options={"avoid_negative_ts": "disabled"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts -= 13 * packet.duration
                    packet.dts -= 13 * packet.duration
                    packet.stream = stream
                    target.mux(packet)
        frames = list(VideoFile(trimmed, FAIL))
        assert len(frames) == len(plain_decode(trimmed)) == 27
        assert frames[0].time_s == 0

    def test_sound_and_cover_art_are_ignored(self, tmp_path):
        path = tmp_path / "v.mkv"
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.height, video.width, video.pix_fmt = 96, 128, "yuv420p"
            sound = container.add_stream("aac", rate=48000)
            for i in range(10):
                container.mux(video.encode(av.VideoFrame.from_ndarray(scene(i, 96, 128), format="rgb24")))
            container.mux(video.encode())
            tone = np.zeros(
                (1, 3 * 48000), np.float32
            )  # longer than the video stream, which does not count as an early end
            note = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            note.sample_rate, note.pts = 48000, 0
            container.mux(sound.encode(note))
            container.mux(sound.encode())
        source = VideoFile(path, FAIL)
        assert len(list(source)) == 10
        assert source.warnings == []


class TestRotation:
    @pytest.mark.parametrize(
        "matrix",
        [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)],
    )
    def test_display_matrix_is_applied(self, tmp_path, matrix):
        path = make_video(tmp_path / "v.mp4", 3, size=(48, 80))
        stored = plain_decode(path)[0]
        patch_matrix(path, matrix)
        source = VideoFile(path, FAIL)
        image = next(iter(source)).image
        # ISO 14496-12: a pixel at (x, y) is shown at (a x + c y, b x + d y), shifted to the top left.
        a, b, c, d = matrix
        shown = {}
        for y in range(48):
            for x in range(80):
                shown[a * x + c * y, b * x + d * y] = stored[y, x]
        left, top = min(x for x, _ in shown), min(y for _, y in shown)
        expected = np.zeros((48, 80, 3) if a else (80, 48, 3), np.uint8)
        for (x, y), pixel in shown.items():
            expected[y - top, x - left] = pixel
        assert source.size == expected.shape[:2]
        assert (image == expected).all()
        assert image.flags.c_contiguous

    def test_a_phone_held_upright(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 3, size=(48, 80))
        stored = plain_decode(path)[0]
        patch_matrix(path, (0, 1, -1, 0))  # shown 90 degrees clockwise
        assert (next(iter(VideoFile(path, FAIL))).image == np.rot90(stored, -1)).all()


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="development data is not on this machine")
def test_real_video_is_read_completely():
    source = open_frames(SHARED / "data/videos/sam2_bedroom.mp4", FAIL)
    count = sum(1 for _ in source)
    assert (count, source.count, source.size, source.warnings) == (200, 200, (540, 960), [])
