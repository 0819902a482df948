"""Average two weight files of one network: python scripts/average_weights.py FIRST SECOND SHARE OUT.

If FIRST was fine-tuned into SECOND, their mean keeps much of what either does better (Wortsman et al., CVPR 2022,
"Robust fine-tuning of zero-shot models"). SHARE is the weight of SECOND. OUT is a .safetensors file with the metadata
of SECOND and, in `mean_with`, the hash of FIRST and its weight.
"""

import argparse
from pathlib import Path

from safetensors.torch import save

from xmem_infer.cli.commands import run_script
from xmem_infer.errors import UsageError
from xmem_infer.io.atomic import write_whole
from xmem_infer.weights.files import CheckpointFile, read_checkpoint


def main() -> None:
    """Read the arguments and write the mean."""
    parser = argparse.ArgumentParser(description="Write the mean of two files of weights of one network.")
    parser.add_argument("first", type=Path, metavar="FIRST")
    parser.add_argument("second", type=Path, metavar="SECOND")
    parser.add_argument("share", type=float, metavar="SHARE", help="of SECOND, 0 to 1")
    parser.add_argument("out", type=Path, metavar="OUT", help=".safetensors")
    args = parser.parse_args()
    write_mean(read_checkpoint(args.first), read_checkpoint(args.second), args.share, args.out)


def write_mean(first: CheckpointFile, second: CheckpointFile, share: float, out: Path) -> None:
    """Write the mean in the dtypes of `second`. Raises UsageError for a wrong share or files of different networks."""
    if not 0 <= share <= 1:
        raise UsageError(f"SHARE={share} must be from 0 to 1")
    shapes = [{name: tuple(value.shape) for name, value in file.tensors.items()} for file in (first, second)]
    if shapes[0] != shapes[1]:
        raise UsageError(f"{first.path} and {second.path} are weights of different networks: they have no mean")
    mean = {}
    for name, value in second.tensors.items():
        mixed = first.tensors[name].double() * (1 - share) + value.double() * share
        mean[name] = mixed.to(value.dtype).contiguous()
    metadata = {**second.metadata, "mean_with": f"{1 - share:g} of sha256 {first.sha256}"}
    write_whole(out, lambda to: to.write_bytes(save(mean, metadata)))


if __name__ == "__main__":
    run_script(main)
