import subprocess
import sys

import numpy as np
import pytest
from video_files import FAIL, WARN, cut, damage, make_video, packets, plain_decode, scene

from xmem_infer.errors import VideoError
from xmem_infer.io.video import VideoFile
from xmem_infer.io.video_faults import gap_warning


def collect_into(seen, source):
    """Collect frames in a list, so that those before an error can be checked."""
    for frame in source:
        seen.append(frame)
    return []


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
    def test_a_gap_in_the_timestamps_is_reported(self):
        times = [i * 0.04 for i in range(50)] + [4 + i * 0.04 for i in range(50)]
        assert "no frames for 2.04 s after 1.96 s" in gap_warning(times)

    @pytest.mark.parametrize(
        "times",
        [
            [],
            [0.0],
            [0, 5],
            [i * 0.04 for i in range(100)],
            [i * 2.0 for i in range(9)],
            list(np.cumsum([0.033, 0.066, 0.033, 0.1] * 10)),
        ],
    )
    def test_timestamps_without_gaps(self, times):
        assert gap_warning(times) is None
