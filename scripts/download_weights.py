"""Fetch the published checkpoints: `python scripts/download_weights.py [NAME ...] [--all] [--list] [--output DIR]`."""

import argparse
import sys
from pathlib import Path

from xmem_infer.cli import exit_code, log_to_streams
from xmem_infer.errors import UsageError, XMemInferError
from xmem_infer.weights.download import download
from xmem_infer.weights.hashes import recorded_hash
from xmem_infer.weights.manifest import Manifest, WeightsEntry, download_folder, load_manifest


def main() -> int:
    """0: all asked for are there; 2: wrong request; 3: something could not be fetched; 130: interrupted."""
    parser = argparse.ArgumentParser(description="Fetch the published XMem checkpoints, checked.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="checkpoints to fetch (default: the published default)"
    )
    parser.add_argument("--all", action="store_true", help="fetch every published checkpoint")
    parser.add_argument("--list", action="store_true", help="say what there is and what is here; fetch nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to put them in (default: %(default)s)")
    parser.set_defaults(output=download_folder())
    args = parser.parse_args()
    log_to_streams()
    try:
        manifest = load_manifest()
        if args.list:
            show(manifest, args.output)
            return 0
        entries = list(manifest.files) if args.all else chosen(manifest, args.names)
    except XMemInferError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    return max(bring(entry, args.output) for entry in entries)


def chosen(manifest: Manifest, names: list[str]) -> list[WeightsEntry]:
    entries = {name: manifest.find(name) for name in names or manifest.names[:1]}
    unknown = [name for name, entry in entries.items() if entry is None]
    if unknown:
        raise UsageError(f"unknown: {', '.join(unknown)}; published are {', '.join(manifest.names)}")
    return [entry for entry in entries.values() if entry is not None]


def show(manifest: Manifest, folder: Path) -> None:
    for entry in manifest.files:
        here = "here" if (folder / entry.name).is_file() else "not here"
        size = f"{entry.approx_bytes / 1e6:.0f} MB" if entry.approx_bytes else "size unknown"
        print(f"{entry.name:<20} {size:>7}  {here:<8}  {entry.description}")
        print(f"{'':<20} sha256 {entry.sha256 or recorded_hash(folder / entry.name) or 'not known yet'}")
    print(f"folder: {folder}\nsource: {manifest.source}")


def bring(entry: WeightsEntry, folder: Path) -> int:
    try:
        result = download(entry, folder)
    except XMemInferError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    verb = "fetched" if result.fetched else "already there"
    print(f"{entry.name}: {verb}, {result.path} (sha256 {result.sha256})")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; nothing half-written is left, run it again", file=sys.stderr)
        sys.exit(130)
