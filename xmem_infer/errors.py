"""What can go wrong, sorted by whose move it is next; `exit_code` is what the command line returns."""


class XMemInferError(Exception):
    """Base of every error this package raises on purpose. The message says what was wrong, found and to do."""

    exit_code = 1


class VideoError(XMemInferError):
    """One video cannot be read or segmented: not a video, truncated, corrupt, non-finite output."""

    exit_code = 1


class UsageError(XMemInferError):
    """The request is wrong: path, mask or setting. Raised before expensive work starts."""

    exit_code = 2


class EnvironmentFault(XMemInferError):
    """The machine cannot do it: disk full, read-only output, output in use, out of memory."""

    exit_code = 3


class WeightsError(EnvironmentFault):
    """A checkpoint is missing, damaged, unsafe or does not fit the network."""
