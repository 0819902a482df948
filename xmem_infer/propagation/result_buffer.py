"""A buffer of frame results on disk, so that memory use does not grow with the length of the video."""

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
import torch

from ..io.atomic import disk_fault
from ..results import FrameResult


class ResultBuffer:
    """Frame results in a temporary file, by frame index.

    Masks are stored losslessly, probabilities quantised to 8 bits, frame images not at all. Call `close` when done.
    The file has no name (POSIX) or is deleted by the system when it is closed (Windows), so that a killed process
    leaves nothing behind.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[int, int, FrameResult]] = {}  # offset and size in the file (bytes), the rest
        self._file = TemporaryFile(prefix="xmem-infer-")  # noqa: SIM115  # `close` closes it

    def __contains__(self, index: int) -> bool:
        return index in self._entries

    def put(self, result: FrameResult) -> None:
        """Write a result to disk. Raises EnvironmentFault if the disk for temporary files refuses it."""
        prob = (result.working_prob.float() * 255).round().byte().cpu().numpy()
        content = io.BytesIO()
        np.savez_compressed(content, mask=result.mask, prob=prob)
        try:
            offset = self._file.seek(0, io.SEEK_END)
            self._file.write(content.getbuffer())
            self._file.flush()
        except OSError as error:
            raise disk_fault(error, Path(gettempdir(), "(temporary file)")) from error
        nothing = np.empty(0, np.uint8)
        frame = replace(result.frame, image=nothing)
        rest = replace(result, frame=frame, mask=nothing, working_prob=torch.empty(0))
        self._entries[result.frame.index] = offset, content.tell(), rest

    def take(self, index: int) -> FrameResult:
        """Return a result and remove it from the buffer.

        Its `frame.image` is empty, its `working_prob` float32 in steps of 1 / 255.
        """
        offset, size, rest = self._entries.pop(index)
        self._file.seek(offset)
        with np.load(io.BytesIO(self._file.read(size))) as file:
            mask, prob = file["mask"], torch.from_numpy(file["prob"]).float() / 255
        if not self._entries:
            self._file.truncate(0)
        return replace(rest, mask=mask, working_prob=prob)

    def close(self) -> None:
        """Delete the temporary file."""
        with suppress(OSError):  # after a failed write, closing tries to write the rest of it once more
            self._file.close()
