"""Results buffered in a temporary file until they are due."""

import resource
import tempfile
from contextlib import closing

import numpy as np
import pytest
import torch

from xmem_infer.errors import EnvironmentFault
from xmem_infer.propagation.result_buffer import ResultBuffer
from xmem_infer.results import FrameResult
from xmem_infer.types import Frame


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def result(index, size=(48, 64)):
    rng = np.random.default_rng(index)
    mask, prob = rng.integers(0, 3, size, np.uint8), torch.from_numpy(rng.random((3, *size), np.float32))
    return FrameResult(Frame(index, f"{index:05}", np.zeros((*size, 3), np.uint8)), mask, (1, 2), {}, {}, prob, False)


@pytest.mark.fault("run with `direction=both` killed", "no temporary file is left: it has no name")
def test_results_are_read_back_from_an_unnamed_file(temporary_folder):
    with closing(ResultBuffer()) as buffer:
        for _ in range(2):  # the second time the file is empty again
            for index in (3, 4, 5):
                buffer.put(result(index))
            assert list(temporary_folder.iterdir()) == []
            for index in (4, 5, 3):
                assert index in buffer
                back, expected = buffer.take(index), result(index)
                assert index not in buffer
                assert (back.frame.index, back.object_ids) == (index, (1, 2))
                np.testing.assert_array_equal(back.mask, expected.mask)
                torch.testing.assert_close(back.working_prob, expected.working_prob, atol=0.5 / 255 + 1e-6, rtol=0)


@pytest.mark.fault("temporary folder full", "exit code 3, error names the folder")
def test_a_full_temporary_folder_is_named(temporary_folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(EnvironmentFault, match=rf"cannot write {temporary_folder}.*: File too large"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
            with closing(ResultBuffer()) as buffer:
                buffer.put(result(0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
