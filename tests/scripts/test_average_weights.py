"""scripts/average_weights.py: the weighted mean of two weight files."""

import pytest
import torch
from commands import in_process
from safetensors import safe_open
from safetensors.torch import save_file


@pytest.fixture
def files(tmp_path):
    for name, value, extra in (("a", 1.0, {}), ("b", 3.0, {}), ("other", 1.0, {"more": torch.zeros(1)})):
        tensors = {"half": torch.full((2, 3), value).half(), "full": torch.full((4,), value), **extra}
        save_file(tensors, tmp_path / f"{name}.safetensors", {"model": name})
    return tmp_path


def average(files, first, second, share):
    names = f"{first}.safetensors", f"{second}.safetensors"
    return in_process("average_weights.py", *names, share, "mean.safetensors", cwd=files)


def test_the_mean_lies_between_both_files(files):
    done = average(files, "a", "b", "0.75")
    assert done.returncode == 0, done.stderr
    with safe_open(files / "mean.safetensors", "pt") as found:
        half, full = found.get_tensor("half"), found.get_tensor("full")
        assert found.metadata()["model"] == "b" and found.metadata()["mean_with"].startswith("0.25 of sha256 ")
    assert (half.dtype, full.dtype) == (torch.float16, torch.float32)
    assert half.eq(2.5).all() and full.eq(2.5).all()


@pytest.mark.parametrize(
    ("second", "share", "said"), [("other", "0.5", "different networks"), ("b", "1.5", "from 0 to 1")]
)
def test_files_without_a_mean_are_refused(files, second, share, said):
    done = average(files, "a", second, share)
    assert done.returncode == 2 and said in done.stderr
    assert not (files / "mean.safetensors").exists()
