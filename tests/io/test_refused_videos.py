import os

import av
import numpy as np
import pytest
from video_files import FAIL, make_video

from xmem_infer.config import DataConfig
from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.frames import open_frames
from xmem_infer.io.video import VideoFile


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
