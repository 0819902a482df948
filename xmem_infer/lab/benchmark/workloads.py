"""Workloads by name: `480p_2`, `480p_2_long_term`, `480p_2_3frames`, `tiny_480p_1`, `cutie_base_480p_2`."""

import re
from dataclasses import dataclass

from ...errors import UsageError
from ...io.listing import counted
from .networks import NETWORKS, XMEM

FULL_MEMORY_FRAMES = 9  # the tenth memory frame consolidates working memory
_NAME = re.compile(
    r"(?:(?P<network>[a-z_]+)_)?(?P<height>\d{1,4})p_(?P<objects>\d{1,3})"
    r"(?:(?P<long_term>_long_term)|_(?P<frames>[1-9])frames)?"
)


@dataclass(frozen=True)
class Workload:
    """The state of a video at one frame: its size, its objects, and the content of its memory.

    Attributes:
        height: In px.
        objects: Number of objects.
        memory_frames: Number of frames in working memory.
        long_term: Whether long-term memory is filled to its capacity; otherwise it is empty.
        network: Name of the network in `networks.NETWORKS`.
    """

    height: int
    objects: int
    memory_frames: int = FULL_MEMORY_FRAMES
    long_term: bool = False
    network: str = XMEM

    @property
    def name(self) -> str:
        frames = f"_{self.memory_frames}frames" if self.memory_frames != FULL_MEMORY_FRAMES else ""
        network = "" if self.network == XMEM else f"{self.network}_"
        return f"{network}{self.height}p_{self.objects}{'_long_term' * self.long_term}{frames}"

    @property
    def width(self) -> int:
        """Width in px at 16:9, rounded to an even number: 854 for a height of 480."""
        return 2 * round(self.height * 8 / 9)

    @property
    def memory_tokens(self) -> int:
        """Number of tokens that an ordinary frame reads from, with long-term memory at its capacity."""
        frame = -(-self.height // 16) * -(-self.width // 16)
        return self.memory_frames * frame + 10_000 * self.long_term

    @property
    def description(self) -> str:
        frames = "full memory" if self.memory_frames == FULL_MEMORY_FRAMES else f"{self.memory_frames} memory frames"
        network = NETWORKS[self.network].title
        long_term = " and long-term memory" * self.long_term
        return f"{network}{self.width}x{self.height}, {counted(self.objects, 'object')}, {frames}{long_term}"


def parse_workload(name: str) -> Workload:
    """Return the workload with this name. Raises UsageError for an invalid name or an impossible video."""
    match = _NAME.fullmatch(name)
    if match is None or (match["network"] or XMEM) not in NETWORKS:
        raise UsageError(
            f"there is no workload {name!r}: a workload is called [<network>_]<height>p_<objects>, such as 480p_2 or "
            f"tiny_480p_1 (networks: {', '.join(NETWORKS)}; {XMEM} without one), and ends in _long_term for a filled "
            "long-term memory or in _<1-9>frames for fewer memory frames than 9"
        )
    network, height, objects, long_term, frames = match.groups()
    workload = Workload(int(height), int(objects), int(frames or FULL_MEMORY_FRAMES), bool(long_term), network or XMEM)
    if workload.height < 32:
        raise UsageError(f"workload {name}: {workload.height} px are too few to paint objects in: at least 32")
    most = min(255, workload.width // 8)
    if not 1 <= workload.objects <= most:
        raise UsageError(f"workload {name}: {workload.objects} objects are not possible here: between 1 and {most}")
    return workload
