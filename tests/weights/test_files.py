"""Distinct errors for bad checkpoints, no execution of code in files, and round trips of valid files."""

import hashlib
import os
import pickle
import random
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xmem_infer.cli.commands import exit_code
from xmem_infer.errors import WeightsError
from xmem_infer.weights.files import check_names, read_checkpoint
from xmem_infer.weights.manifest import record_of, require_hash


def state():
    return {
        "stem.weight": torch.arange(2400.0).view(40, 60).t(),  # not contiguous, like a saved transposed parameter
        "half": torch.linspace(-1, 1, 7).half(),
        "norm.num_batches_tracked": torch.tensor(1000),
        "empty": torch.zeros(0, 3),
    }


def write(path, content, *, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


class Touches:
    """An object that creates a file when it is unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def refused(path, *wanted):
    """Check that reading is refused; return the message, which must contain the path and the wanted phrases."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warnings of torch besides the error
        with pytest.raises(WeightsError) as caught:
            read_checkpoint(path)
    message = str(caught.value)
    assert exit_code(caught.value) == 3
    for phrase in (str(path), *wanted):
        assert phrase in message, message
    return message


# ---- valid files


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "network"])
def test_reads_what_was_written(tmp_path, legacy, wrapper):
    content = state() if wrapper is None else {wrapper: state(), "epoch": 3}
    path = write(tmp_path / "some.pth", content, legacy=legacy)
    file = read_checkpoint(path)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (file.path, file.metadata) == (path, {})
    assert list(file.tensors) == list(state())
    for name, value in state().items():
        assert file.tensors[name].dtype == value.dtype
        assert torch.equal(file.tensors[name], value)


def test_reads_safetensors_with_metadata(tmp_path):
    content = {name: value.contiguous() for name, value in state().items()}
    save_file(content, tmp_path / "some.safetensors", {"seed": "7"})
    file = read_checkpoint(tmp_path / "some.safetensors")
    assert file.metadata == {"seed": "7"}
    assert file.tensors.keys() == content.keys()
    assert all(torch.equal(file.tensors[name], value) for name, value in content.items())


def test_the_format_is_detected_from_content_not_name(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "some.pth")
    assert torch.equal(read_checkpoint(tmp_path / "some.pth").tensors["a"], torch.ones(3))
    write(tmp_path / "other.part", {"a": torch.ones(3)})
    assert torch.equal(read_checkpoint(tmp_path / "other.part").tensors["a"], torch.ones(3))
    write(tmp_path / "torch.safetensors", {"a": torch.ones(3)})
    refused(tmp_path / "torch.safetensors", "named .safetensors but is none", "PyTorch (zip)")


@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
def test_modifying_tensors_does_not_change_the_file(tmp_path, name):
    path = tmp_path / name
    save_file({"a": torch.ones(3000)}, path) if name.endswith("safetensors") else write(path, {"a": torch.ones(3000)})
    before = path.read_bytes()
    read_checkpoint(path).tensors["a"].zero_()
    assert path.read_bytes() == before


def test_parameters_are_returned_as_plain_tensors(tmp_path):
    write(tmp_path / "some.pth", dict(torch.nn.Linear(3, 2).named_parameters()))
    assert not any(value.requires_grad for value in read_checkpoint(tmp_path / "some.pth").tensors.values())


# ---- missing files, and files that are not checkpoints


def test_errors_for_missing_files_list_existing_ones_and_the_download(tmp_path):
    refused(
        tmp_path / "none.pth", "XMem.pth, XMem-s012.pth, XMem-s2.pth, XMem-no-sensory.pth",
        "xmem-infer download XMem.pth",
    )  # fmt: skip


def test_folder(tmp_path):
    refused(tmp_path, "is a folder")


@pytest.mark.fault("empty checkpoint", "exit code 3: the file is empty")
def test_empty(tmp_path):
    (tmp_path / "some.pth").touch()
    refused(tmp_path / "some.pth", "is empty (0 bytes)")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_not_allowed_to_read(tmp_path):
    write(tmp_path / "some.pth", state()).chmod(0)
    refused(tmp_path / "some.pth", "cannot be read")


@pytest.mark.parametrize("head", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\r\n  <html>", b"<?xml version='1.0'?>"])
@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
@pytest.mark.fault("HTML page saved as {name}", "exit code 3: the file is a web page")
def test_saved_web_page(tmp_path, head, name):
    (tmp_path / name).write_bytes(head + b"<body>Not Found</body>" * 9)
    refused(tmp_path / name, "web page")


@pytest.mark.fault("Git LFS pointer instead of the file", "exit code 3: the file is a Git LFS pointer")
def test_lfs_pointer(tmp_path):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 249000000\n"
    (tmp_path / "some.pth").write_text(text)
    refused(tmp_path / "some.pth", "Git LFS pointer")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n....", b"hello", b"\x00" * 5000, bytes(range(256)) * 40])
def test_other_bytes(tmp_path, content):
    (tmp_path / "some.pth").write_bytes(content)
    refused(tmp_path / "some.pth", "is not a checkpoint", repr(content[:8]))


@pytest.mark.fault("unrelated zip archive", "exit code 3: not a checkpoint")
def test_other_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "some.pth", "w") as archive:
        archive.writestr("word/document.xml", "text")
    refused(tmp_path / "some.pth", "zip archive, not a checkpoint")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_pickle_without_code(tmp_path, protocol):
    (tmp_path / "some.pth").write_bytes(pickle.dumps({"a": 3}, protocol=protocol))
    refused(tmp_path / "some.pth", "Python pickle, not a checkpoint")


# ---- truncated and damaged files


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.fault("checkpoint truncated at any position", "exit code 3: the file is truncated")
def test_cut_at_any_position(tmp_path, legacy):
    whole = write(tmp_path / "whole.pth", state(), legacy=legacy).read_bytes()
    path = tmp_path / "some.pth"
    positions = {1, 2, 3, 4, 10, 63, 64, 300, *range(500, len(whole), 997), len(whole) - 23, len(whole) - 1}
    for position in sorted(positions):
        path.write_bytes(whole[:position])
        message = refused(path)
        # A few bytes of the legacy format cannot be distinguished from any other pickle.
        assert "cut off" in message or (legacy and position < 12 and "not a checkpoint" in message), (position, message)


@pytest.mark.fault(".safetensors file truncated", "exit code 3, error states both sizes")
def test_the_error_for_cut_safetensors_states_both_sizes(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(1000), "b": torch.ones(10)}, path)
    whole = path.read_bytes()
    for position in (9, 30, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:position])
        message = refused(path, "is cut off", f"{position:,} bytes found")
        if position > 200:
            assert f"{len(whole):,} expected" in message
    for position in (1, 8):
        path.write_bytes(whole[:position])
        refused(path, "cut off")


def test_damaged_safetensors_header(tmp_path):
    header = b'{"a": nonsense}'
    (tmp_path / "some.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(tmp_path / "some.safetensors", "is damaged", "header cannot be read")


@pytest.mark.fault("damaged pickle in an intact archive", "exit code 3: the file is damaged")
def test_damaged_pickle_inside_a_whole_archive(tmp_path):
    write(tmp_path / "whole.pth", state())
    with zipfile.ZipFile(tmp_path / "whole.pth") as old, zipfile.ZipFile(tmp_path / "some.pth", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[: len(content) // 2] if name.endswith("data.pkl") else content)
    refused(tmp_path / "some.pth", "damaged")


@pytest.mark.filterwarnings("ignore")  # of the readers, on formats that result from a flip
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.fault(
    "two random bytes changed, 200 times ({form})", "`WeightsError` or no error; never another exception"
)
def test_flipped_bytes_give_a_weights_error_or_none(tmp_path, form):
    path = tmp_path / "some.pth"
    content = {"a": torch.ones(20, 30), "b": torch.arange(5)}
    save_file(content, path) if form == "safetensors" else write(path, content, legacy=form == "legacy")
    whole = path.read_bytes()
    dice, refusals = random.Random(0), 0
    for _ in range(200):
        flipped = bytearray(whole)
        near_an_end = dice.choice([dice.randrange(700), -1 - dice.randrange(700)])  # the metadata is near the ends
        for position in (dice.randrange(len(whole)), near_an_end):
            flipped[position] = dice.randrange(256)
        path.write_bytes(flipped)
        try:
            read_checkpoint(path)
        except WeightsError:
            refusals += 1
    assert refusals > 10


def test_safetensors_whose_header_length_looks_like_html(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(0x3C20)  # as bytes: blank, "<"
    path = tmp_path / "some.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1, 2))
    assert path.read_bytes()[:2] == b" <"
    assert read_checkpoint(path).tensors["a"].tolist() == [1, 2]


# ---- code


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 2", "pickle 4", "wrapped"])
@pytest.mark.fault("executable code in a checkpoint ({form})", "never executed, error names it")
def test_pickled_code_is_named_and_never_run(tmp_path, form):
    witness, path = tmp_path / "witness", tmp_path / "some.pth"
    content = {"stem.weight": torch.ones(2), "hook": Touches(witness)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps({"hook": Touches(witness)}, protocol=int(form[-1])))
    else:
        write(path, {"state_dict": content} if form == "wrapped" else content, legacy=form == "legacy")
    refused(path, "wants to run code and was not loaded", "system")
    assert not witness.exists()
    if form.startswith("pickle"):  # without the protection the code does run
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert witness.exists()


@pytest.mark.fault("executable code, with `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`", "never executed")
def test_no_environment_variable_enables_pickled_code(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    write(tmp_path / "some.pth", {"hook": Touches(tmp_path / "witness")})
    refused(tmp_path / "some.pth", "wants to run code")
    assert not (tmp_path / "witness").exists()


def test_pickled_module_is_code(tmp_path):
    write(tmp_path / "some.pth", torch.nn.Linear(2, 2))
    refused(tmp_path / "some.pth", "torch.nn.modules.linear.Linear", "state_dict()")


# ---- wrong content


@pytest.mark.parametrize(("content", "found"), [([1, 2], "a list"), (torch.ones(2), "a Tensor"), ({}, "an empty dict")])
def test_not_a_dict_of_tensors(tmp_path, content, found):
    refused(write(tmp_path / "some.pth", content), f"holds {found}, not a dict of tensors")


def test_entries_that_are_not_tensors_are_named(tmp_path):
    content = {
        "a": torch.ones(2),
        "epoch": 3,
        "nested": {"b": torch.ones(1)},
        5: torch.ones(1),
    }
    message = refused(
        write(tmp_path / "some.pth", content), "3 of its entries", "epoch (int)", "nested (dict)", "5 (tensor"
    )
    assert "\n  a " not in message


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about its checks of sparse tensors
def test_tensors_of_another_layout_are_named(tmp_path):
    path = write(
        tmp_path / "some.pth", {"a": torch.ones(2), "sparse": torch.eye(3).to_sparse(), "c": 1j * torch.ones(2)}
    )
    with pytest.raises(WeightsError, match=r"2 of its entries(.|\n)*sparse \(tensor, torch.sparse_coo(.|\n)*complex64"):
        read_checkpoint(path)


def test_two_levels_of_wrapping_are_refused(tmp_path):
    refused(write(tmp_path / "some.pth", {"model": {"state_dict": state()}}), "state_dict (dict)")


@pytest.mark.fault("1 kB file that declares a 40 TB tensor", "error, no memory is allocated")
def test_a_view_larger_than_its_storage_takes_no_memory(tmp_path):
    huge = torch.ones(1).expand(10**13)  # 40 TB, in a file of 1 kB
    refused(write(tmp_path / "some.pth", {"a": huge}), "a (tensor")


@pytest.mark.fault("NaN or infinity in weights", "exit code 3, error names the entries and their counts")
def test_non_finite_entries_are_named_and_counted(tmp_path):
    content = {
        "good": torch.ones(4),
        "nan": torch.tensor([1.0, float("nan"), float("nan")]),
        "inf": torch.tensor([float("inf")], dtype=torch.float16),
        "count": torch.tensor(3),
    }
    message = refused(write(tmp_path / "some.pth", content), "in 2 of its entries", "nan (2 of 3)", "inf (1 of 1)")
    assert "good" not in message


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_number_is_found_anywhere_in_any_float(tmp_path, dtype, value):
    for position in (0, 1, 500, 1000):
        tensor = torch.linspace(-3, 3, 1001).to(dtype)
        tensor[position] = value
        refused(write(tmp_path / "some.pth", {"a": tensor}), "a (1 of 1,001)")


# ---- names and shapes


def shapes(**names):
    return dict(names)


def test_agreeing_names_pass():
    check_names(shapes(a=(1, 2), b=()), shapes(b=(), a=torch.Size([1, 2])), Path("x.pth"))


@pytest.mark.fault(
    "weights of a different network", "one error lists all missing, unexpected and wrongly shaped entries"
)
def test_one_error_lists_every_difference():
    with pytest.raises(WeightsError) as caught:
        check_names(
            shapes(same=(1,), wrong=(3, 4), extra=(5,)), shapes(same=(1,), wrong=(3, 9), absent=(7, 8)), Path("x.pth")
        )
    assert str(caught.value).split("\n") == [
        "x.pth does not fit the network (3 entries found, 3 expected)",
        "1 missing in the file:",
        "  absent (7, 8)",
        "1 unexpected in the file:",
        "  extra (5,)",
        "1 of another shape:",
        "  wrong: (3, 4) in the file, (3, 9) in the network",
    ]


@pytest.mark.parametrize(("count", "lines"), [(40, 40), (41, 41), (412, 41)])
def test_long_lists_are_shortened_in_the_middle_with_the_count(count, lines):
    expected = {f"n{i}": (1,) for i in range(count)}
    with pytest.raises(WeightsError) as caught:
        check_names({}, expected, Path("x.pth"))
    _head, title, *rest = str(caught.value).split("\n")
    assert title == f"{count} missing in the file:"
    assert len(rest) == lines
    assert rest[0] == "  n0 (1,)"
    assert rest[-1] == f"  n{count - 1} (1,)"
    if count > 40:
        assert rest[20] == f"  ... {count - 40} more ..."


# ---- hashes


@pytest.mark.fault("weights changed since their download", "exit code 3, error states both hashes")
def test_a_recorded_hash_is_checked_on_every_load(tmp_path):
    path = write(tmp_path / "some.pth", state())
    file = read_checkpoint(path)
    assert require_hash(path, file.sha256) is None
    record_of(path).write_text(f"{file.sha256}  some.pth\n")
    assert require_hash(path, file.sha256) == str(tmp_path / "some.pth.sha256")
    changed = read_checkpoint(write(path, {"a": torch.ones(2)}))
    with pytest.raises(WeightsError) as caught:
        require_hash(path, changed.sha256)
    assert file.sha256 in str(caught.value)
    assert changed.sha256 in str(caught.value)


def test_an_unreadable_hash_record_is_reported(tmp_path):
    (tmp_path / "some.pth.sha256").write_text("")
    with pytest.raises(WeightsError, match=r"some\.pth\.sha256 cannot be read"):
        require_hash(tmp_path / "some.pth", "0" * 64)
