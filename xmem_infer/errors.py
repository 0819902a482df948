"""Exceptions, grouped by who can resolve the problem. `cli/commands.py` maps them to exit codes."""


class XMemInferError(Exception):
    """Base class of all errors of this package. Messages say what is wrong, what was found and how to correct it."""


class UsageError(XMemInferError, ValueError):
    """A path, mask or setting is invalid. Raised before expensive work starts, whenever this is possible."""


class VideoError(XMemInferError, RuntimeError):
    """A video cannot be read or segmented: it is not a video, truncated or corrupt, or gives non-finite output."""


class NonFiniteError(VideoError):
    """The network's probabilities contain NaN or infinity; the state of the video is unchanged by the frame."""


class EnvironmentFault(XMemInferError, RuntimeError):
    """The machine prevents the request: full disk, read-only or locked output, missing package, out of memory."""


class WeightsError(EnvironmentFault):
    """A checkpoint is missing, damaged, unsafe or does not match the network."""
