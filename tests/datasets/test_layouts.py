"""A dataset layout registered by a plugin and selected by its name."""

import pytest
from PIL import Image

from xmem_infer.config import DataConfig, DatasetConfig
from xmem_infer.datasets.layouts import LAYOUTS, FoundSet
from xmem_infer.datasets.video_input import VideoInput
from xmem_infer.errors import UsageError


def test_a_registered_layout_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(LAYOUTS, "_entries", dict(LAYOUTS._entries))
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (16, 12)).save(tmp_path / "pictures" / f"{number}.png")
    Image.new("L", (16, 12), 4).save(tmp_path / "mask.png")

    @LAYOUTS.register("one folder")
    def one_folder(rules, data_root, data, sizes):
        return FoundSet([VideoInput("only", tmp_path / "pictures", tmp_path / "mask.png", all_masks=False)])

    find = LAYOUTS["one folder"]
    (video,) = find(DatasetConfig(layout="one folder"), str(tmp_path), DataConfig(), [480]).videos
    video.open(DataConfig())
    assert (video.frames.count, video.object_ids, list(video.masks)) == (3, {4}, ["0"])
    with pytest.raises(UsageError, match=r"dataset.layout=one.*did you mean one folder\?|Known: davis"):
        LAYOUTS["one"]
