"""Make the decoder of trained weights narrower: python scripts/slim_weights.py FILE OUT --packs TAR ... --widths N N.

The most important channels are kept, and the narrower decoder is trained to imitate the given one; see
`weights/MODEL_CARD.md`.
"""

import argparse
from pathlib import Path

from xmem_infer.cli.commands import run_script


def main() -> None:
    """Read the arguments and write the narrower network's weights."""
    parser = argparse.ArgumentParser(description="Write weights with a narrower decoder.")
    parser.add_argument("file", type=Path, metavar="FILE", help="trained weights")
    parser.add_argument("out", type=Path, metavar="OUT", help=".safetensors")
    parser.add_argument("--packs", type=Path, nargs="+", required=True, metavar="TAR", help="training data")
    parser.add_argument("--cache", type=Path, required=True, metavar="FOLDER", help="for decoded training data, 0.7 GB")
    parser.add_argument("--widths", type=int, nargs=2, required=True, metavar="N", help="channels at strides 16 and 8")
    parser.add_argument("--samples", type=int, default=8000, metavar="N", help="training samples")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--threads", type=int, help="CPU threads")
    args = parser.parse_args()
    from xmem_infer.lab.training.slimming import slim_weights  # imports torch
    from xmem_infer.runtime.contexts import thread_count
    from xmem_infer.runtime.limits import check_threads

    check_threads(args.threads)
    with thread_count(args.threads):
        slim_weights(args.file, args.out, args.packs, args.cache, tuple(args.widths), args.samples, args.seed)


if __name__ == "__main__":
    run_script(main)
