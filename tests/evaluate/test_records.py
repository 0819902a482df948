"""Records of finished videos: results that may share one output folder."""

import json
import shutil

import pytest
from batch_trees import run_config, write_set

from xmem_infer.config import DataConfig, EvalConfig
from xmem_infer.errors import UsageError
from xmem_infer.evaluate import run
from xmem_infer.evaluate.records import Record, Records, recorded_settings


def test_a_setting_missing_from_a_record_has_its_default(tmp_path):
    defaults = recorded_settings(EvalConfig())
    older = {key: value for key, value in defaults.items() if key != "data.permanent"}
    records = Records(tmp_path)
    records.write("v", Record("inputs", "weights", older, 3))
    assert "data.permanent" not in json.loads((tmp_path / "records" / "v.json").read_text())["settings"]
    records.check_same("v", Record("inputs", "weights", defaults))
    with pytest.raises(UsageError, match=r"data.permanent: False there, True now"):
        records.check_same("v", Record("inputs", "weights", {**defaults, "data.permanent": True}))


def refuse_to_load(*arguments):
    raise AssertionError("the weights were loaded")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("settings", r"holds results of another run for clip \(data.size: -1 there, 32 now\)"),
        ("video", r"holds results of another run for clip \(the files of .* have changed since\)"),
        ("masks", "holds files that no run of this program recorded"),
        ("project", "is a project of the page"),
    ],
)
@pytest.mark.fault("output folder with results of a different run ({change})", "error before the weights are loaded")
def test_an_output_folder_is_refused_before_loading(tmp_path, make_clip, tiny_weights, monkeypatch, change, words):
    videos, out = write_set(tmp_path / "set", make_clip, {"clip": 3}), tmp_path / "out"
    config = run_config(videos, out, tiny_weights)
    assert run.evaluate(config) == 0
    if change == "settings":
        config.data = DataConfig(size=32)
    elif change == "video":
        shutil.copy(videos / "JPEGImages/clip/1.png", videos / "JPEGImages/clip/2.png")
    elif change == "masks":
        shutil.rmtree(out / "records")
    else:
        (out / "project.json").write_text("{}")
    monkeypatch.setattr(run, "load_network", refuse_to_load)
    with pytest.raises(UsageError, match=words):
        run.evaluate(config)
