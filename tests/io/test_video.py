import os
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from xmem_infer.config import DataConfig, OnCorrupt
from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.frames import FrameSource, open_frames
from xmem_infer.io.video import VideoFile
from xmem_infer.io.video_faults import Gaps

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FAIL, WARN = DataConfig(), DataConfig(on_corrupt=OnCorrupt.warn)
TEXTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def scene(index: int, height: int, width: int) -> np.ndarray:
    """Return a moving texture whose brightness encodes the frame index (16 + 3 * index)."""
    moved = np.roll(TEXTURE, (index, 2 * index), (0, 1))[:height, :width] // 8
    return moved + np.uint8(3 * (index % 64))


def make_video(
    path: Path,
    frames: int = 30,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 128),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    start: int = 0,
) -> Path:
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        if pts:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(i + start, *size)), format="rgb24")
            if pts:
                picture.pts, picture.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Return (position, size) in the file of each coded frame, in coding order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def damage(path: Path, index: int, first: float = 0.3) -> None:
    """Overwrite a coded frame (index in coding order) with noise, except for its beginning."""
    data = bytearray(path.read_bytes())
    position, size = packets(path)[index]
    begin = position + int(size * first)
    data[begin : position + size] = np.random.default_rng(1).bytes(position + size - begin)
    path.write_bytes(data)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def plain_decode(path: Path) -> list[np.ndarray]:
    """Decode all frames sequentially with PyAV on one thread, as the reference."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


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


class TestNotAVideo:
    def test_missing(self, tmp_path):
        with pytest.raises(UsageError, match=r"v\.mp4 does not exist"):
            open_frames(tmp_path / "v.mp4", FAIL)

    @pytest.mark.fault("empty video file", "error: the file is empty")
    def test_empty_file(self, tmp_path):
        (tmp_path / "v.mp4").touch()
        with pytest.raises(VideoError, match=r"v\.mp4 is empty"):
            open_frames(tmp_path / "v.mp4", FAIL)

    @pytest.mark.parametrize("name", ["v.mp4", "v.txt", "v.nfo", "v"])
    @pytest.mark.fault("text file named {name}", "error: not a video")
    def test_text(self, tmp_path, name):
        (tmp_path / name).write_text("This is no video.\n" * 300)
        with pytest.raises(VideoError, match=r"is not a video|is a text file"):
            open_frames(tmp_path / name, FAIL)

    @pytest.mark.fault("random bytes named .mp4", "error: not a video")
    def test_noise(self, tmp_path):
        (tmp_path / "v.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
        with pytest.raises(VideoError, match="is not a video"):
            open_frames(tmp_path / "v.mp4", FAIL)

    @pytest.mark.fault("playlist that refers to a network address", "error, no network access")
    def test_playlists_reach_no_network(self, tmp_path):
        (tmp_path / "v.m3u8").write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nhttp://127.0.0.1:9/v.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(VideoError):
            list(open_frames(tmp_path / "v.m3u8", FAIL))

    @pytest.mark.fault("video file with audio only", "error: no video stream")
    def test_sound_only(self, tmp_path):
        with av.open(str(tmp_path / "v.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=48000)
            note = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
            note.sample_rate = 48000
            container.mux(stream.encode(note))
            container.mux(stream.encode())
        with pytest.raises(VideoError, match=r"no video stream .its streams: audio"):
            open_frames(tmp_path / "v.mp4", FAIL)

    @pytest.mark.fault("video larger than `data.max_pixels`", "error before decoding")
    def test_oversized_videos_are_refused_before_decoding(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 2)
        limit = DataConfig(max_pixels=96 * 128 - 1)
        with pytest.raises(VideoError, match=r"declares 128x96 = 12,288 pixels, .*12,287"):
            VideoFile(path, limit)
        assert len(list(VideoFile(path, DataConfig(max_pixels=96 * 128)))) == 2

    def test_oversized_videos_of_formats_probed_by_decoding(self, tmp_path):
        path = make_video(tmp_path / "v.webm", 2, "libvpx-vp9")
        with pytest.raises(VideoError, match=r"data\.max_pixels=100"):
            VideoFile(path, DataConfig(max_pixels=100))

    @pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
    def test_no_permission(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 2)
        path.chmod(0)
        with pytest.raises(VideoError, match="cannot be opened: Permission denied"):
            VideoFile(path, FAIL)


class TestDamaged:
    @pytest.mark.parametrize(("name", "codec"), [("v.mp4", "libx264"), ("v.mkv", "libx264"), ("v.avi", "mpeg4")])
    @pytest.mark.fault("damaged frame in {name}", "error names the frame")
    def test_a_damaged_frame_is_named(self, tmp_path, name, codec):
        path = make_video(tmp_path / name, 40, codec, options={"bf": "0"})
        clean = plain_decode(path)
        damage(path, 20)
        with pytest.raises(VideoError, match=r"frame 00020 \(0\.800 s\) .*data\.on_corrupt=warn"):
            list(VideoFile(path, FAIL))
        source = VideoFile(path, WARN)
        frames = list(source)
        assert [f.index for f in frames if f.corrupt] == [20]
        assert [f.name for f in frames] == [f"{i:05d}" for i in range(40)]
        assert (frames[20].image == frames[19].image).all()
        assert (frames[19].image == clean[19]).all()
        assert frames[20].time_s == pytest.approx(0.8)
        assert len(source.warnings) == 1
        assert "frame 00020" in source.warnings[0]

    @pytest.mark.fault(
        "frames that the decoder drops without an error", "each is reported and replaced by the previous frame"
    )
    def test_frames_that_a_decoder_drops_without_an_error(self, tmp_path):
        options = {"x265-params": "log-level=none:bframes=0:keyint=10:min-keyint=10:scenecut=0"}
        path = make_video(tmp_path / "v.mp4", 40, "libx265", options=options)
        damage(path, 24, first=0)
        source = VideoFile(path, WARN)
        frames = list(source)
        assert len(frames) == 40
        corrupt = [f.index for f in frames if f.corrupt]
        assert corrupt[0] == 24
        assert corrupt[-1] <= 29  # frames are intact from the next keyframe on
        assert len(source.warnings) == len(corrupt)

    @pytest.mark.fault("video whose first frame is lost", "error: the mask belongs to that frame")
    def test_a_lost_first_frame_is_not_replaced_by_the_next_key_frame(self, tmp_path):
        for name in ("v.mp4", "v.mkv"):
            path = make_video(tmp_path / name, 40, options={"g": "10"})
            damage(path, 0, first=0.05)
            with pytest.raises(VideoError, match=r"00000 .*first frame"):
                VideoFile(path, WARN)

    def test_a_stream_that_starts_between_keyframes(self, tmp_path):
        path = make_video(tmp_path / "v.ts", 40, options={"g": "10", "bf": "0"})
        path.write_bytes(path.read_bytes()[packets(path)[4][0] // 188 * 188 :])
        source = VideoFile(path, FAIL)
        frames = list(source)
        assert 30 <= len(frames) <= 35
        assert frames[0].image.mean() == pytest.approx(scene(40 - len(frames), 96, 128).mean(), abs=1.5)
        assert len(source.warnings) == 1
        assert "before the first key frame" in source.warnings[0]

    def test_frames_before_the_damaged_one_are_returned(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 40, options={"bf": "0"})
        damage(path, 20)
        seen = []
        with pytest.raises(VideoError):
            seen.extend(collect_into(seen, VideoFile(path, FAIL)))
        assert [f.index for f in seen] == list(range(20))

    def test_reordered_frames_keep_their_positions(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 40, options={"bf": "3", "b-adapt": "0"})
        times = {round(f.time_s, 3) for f in VideoFile(path, FAIL)}
        for index in (10, 11, 12, 13, 39):
            broken = tmp_path / f"v{index}.mp4"
            broken.write_bytes(path.read_bytes())
            damage(broken, index, first=0)
            frames = list(VideoFile(broken, WARN))
            assert len(frames) == 40
            assert [f.index for f in frames] == list(range(40))
            assert {round(f.time_s, 3) for f in frames} == times
            assert 1 <= sum(f.corrupt is not None for f in frames) <= 4

    @pytest.mark.parametrize("data", [FAIL, WARN], ids=["fail", "warn"])
    @pytest.mark.parametrize("first", [0, 0.5])
    def test_the_first_frame_must_be_intact(self, tmp_path, data, first):
        path = make_video(tmp_path / "v.mp4")
        damage(path, 0, first)
        with pytest.raises(VideoError, match=r"00000 .*first frame"):
            VideoFile(path, data)

    @pytest.mark.fault("frame size changes within a video", "error names that frame")
    def test_change_of_size_within_a_video(self, tmp_path):
        parts = [
            make_video(tmp_path / "a.h264", 10, size=(96, 128), options={"bf": "0"}),
            make_video(tmp_path / "b.h264", 10, size=(64, 64), options={"bf": "0"}),
        ]
        path = tmp_path / "v.h264"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for data in (FAIL, WARN):
            with pytest.raises(VideoError, match="from frame 00010 on the picture is 64x64, before it was 128x96"):
                list(VideoFile(path, data))

    def test_ffmpeg_messages_are_not_printed(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 40)
        damage(path, 20)
        script = (
            "import sys\nfrom xmem_infer.config import *\nfrom xmem_infer.io.video import VideoFile\n"
            "print(len(list(VideoFile(sys.argv[1], DataConfig(on_corrupt=OnCorrupt.warn)))))"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("40\n", "")

    def test_importing_changes_no_logging(self):
        script = (
            "import av\nav.logging.set_level(av.logging.INFO)\nimport xmem_infer.io.video\n"
            "print(av.logging.get_level() == av.logging.INFO)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout == "True\n"


class TestShort:
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
    @pytest.mark.parametrize(
        ("name", "container_options"),
        [("v.mp4", {"movflags": "faststart"}), ("v.mkv", None), ("v.webm", None)],
    )
    @pytest.mark.fault("{name} truncated", "error, or with `data.on_corrupt=warn` a warning; never treated as complete")
    def test_a_truncated_file_is_never_complete(self, tmp_path, name, container_options, share):
        codec = "libvpx-vp9" if name == "v.webm" else "libx264"
        path = make_video(tmp_path / name, 60, codec, options={"g": "10"}, container_options=container_options)
        clean = plain_decode(path)
        cut(path, share)
        with pytest.raises(VideoError, match=r"ends early|is damaged|cannot be decoded"):
            list(VideoFile(path, FAIL))
        source = VideoFile(path, WARN)
        frames = list(source)
        assert 0 < len(frames) <= 60
        assert source.warnings
        for frame, pixels in zip(frames, clean, strict=False):
            assert frame.corrupt or (frame.image == pixels).all()

    def test_the_error_counts_decoded_and_expected_frames(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 60, options={"bf": "0"}, container_options={"movflags": "faststart"})
        position, _ = packets(path)[41]
        path.write_bytes(path.read_bytes()[:position])
        seen = []
        with pytest.raises(VideoError, match="ends early: 41 of 60 frames are there"):
            seen.extend(collect_into(seen, VideoFile(path, FAIL)))
        assert len(seen) == 41
        source = VideoFile(path, WARN)
        assert source.count == 60
        assert len(list(source)) == 41
        assert source.warnings == ["the file ends early: 41 of 60 frames are there"]

    @pytest.mark.fault("video truncated before its first frame", "error: no frame can be decoded")
    def test_cut_before_the_first_frame(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 60, container_options={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[: packets(path)[0][0] + 20])
        for data in (FAIL, WARN):
            with pytest.raises(VideoError, match=r"not one frame of it can be decoded; it may be cut off"):
                VideoFile(path, data)

    def test_one_frame_short(self, tmp_path):
        path = make_video(tmp_path / "v.mp4", 60, options={"bf": "0"}, container_options={"movflags": "faststart"})
        position, _ = packets(path)[59]
        path.write_bytes(path.read_bytes()[:position])
        with pytest.raises(VideoError, match="59 of 60"):
            list(VideoFile(path, FAIL))

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.7, 0.9, 0.99])
    @pytest.mark.fault(".mp4 without its index", "error: the file is truncated")
    def test_without_its_index_a_file_is_not_a_video(self, tmp_path, share):
        path = cut(make_video(tmp_path / "v.mp4", 60), share)
        with pytest.raises(VideoError, match=r"cut off|no video stream"):
            VideoFile(path, WARN)

    @pytest.mark.fault(".mkv with its middle third zeroed", "with `data.on_corrupt=warn`, a warning")
    def test_matroska_that_lost_its_middle(self, tmp_path):
        path = make_video(tmp_path / "v.mkv", 100, options={"g": "10"}, container_options={"cluster_time_limit": "400"})
        data = bytearray(path.read_bytes())
        third = len(data) // 3
        data[third : 2 * third] = bytes(third)
        path.write_bytes(data)
        source = VideoFile(path, WARN)
        assert len(list(source)) < 90
        assert source.warnings


class TestPauses:
    def remark(self, times):
        gaps = Gaps()
        for time_s in times:
            gaps.record(time_s)
        return gaps.warning()

    def test_a_gap_in_the_timestamps_is_reported(self):
        times = [i * 0.04 for i in range(50)] + [4 + i * 0.04 for i in range(50)]
        assert "no frames for 2.04 s after 1.96 s" in self.remark(times)

    @pytest.mark.parametrize(
        "times",
        [
            [],
            [0.0],
            [0, 5],
            [None] * 9,
            [i * 0.04 for i in range(100)],
            [i * 2.0 for i in range(9)],
            list(np.cumsum([0.033, 0.066, 0.033, 0.1] * 10)),
        ],
    )
    def test_timestamps_without_gaps(self, times):
        assert self.remark(times) is None


def collect_into(seen, source):
    """Collect frames in a list, so that those before an error can be checked."""
    for frame in source:
        seen.append(frame)
    return []


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="development data is not on this machine")
def test_real_video_is_read_completely():
    source = open_frames(SHARED / "data/videos/sam2_bedroom.mp4", FAIL)
    count = sum(1 for _ in source)
    assert (count, source.count, source.size, source.warnings) == (200, 200, (540, 960), [])
