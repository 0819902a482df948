"""What can go wrong, sorted by whose move it is next. The command line's exit codes are in `cli/commands.py`."""


class XMemInferError(Exception):
    """Base of every error this package raises on purpose. The message says what was wrong, found and to do."""


class UsageError(XMemInferError, ValueError):
    """The request is wrong: path, mask or setting. Raised before expensive work starts."""


class VideoError(XMemInferError, RuntimeError):
    """One video cannot be read or segmented: not a video, truncated, corrupt, non-finite output."""


class NonFiniteError(VideoError):
    """The network's probabilities hold NaN or infinity; the state of the video is as it was before the frame."""


class EnvironmentFault(XMemInferError, RuntimeError):
    """The machine cannot do it: disk full, read-only output, output in use, out of memory."""


class WeightsError(EnvironmentFault):
    """A checkpoint is missing, damaged, unsafe or does not fit the network."""
