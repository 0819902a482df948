"""Records of finished videos: what may be mixed in one output folder."""

import json

import pytest

from xmem_infer.config import EvalConfig
from xmem_infer.errors import UsageError
from xmem_infer.evaluate.records import Record, Records, recorded_settings


def test_a_record_older_than_a_setting_is_of_its_default(tmp_path):
    defaults = recorded_settings(EvalConfig())
    older = {key: value for key, value in defaults.items() if key != "data.permanent"}
    records = Records(tmp_path)
    records.write("v", Record("inputs", "weights", older, 3))
    assert "data.permanent" not in json.loads((tmp_path / "records" / "v.json").read_text())["settings"]
    records.check_same("v", Record("inputs", "weights", defaults), defaults)
    with pytest.raises(UsageError, match=r"data.permanent: False there, True now"):
        records.check_same("v", Record("inputs", "weights", {**defaults, "data.permanent": True}), defaults)
