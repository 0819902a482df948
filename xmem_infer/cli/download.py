"""Download the published checkpoints: `xmem-infer download [NAME ...] [--all] [--list] [--output DIR]`."""

import argparse
from pathlib import Path

from ..errors import UsageError, XMemInferError
from ..weights import manifest
from ..weights.download import download
from ..weights.manifest import WeightsEntry, recorded_hash
from .commands import log_to_streams, report_error


def main() -> int:
    """Return the exit code: 0 all present; 2 usage; 3 a download failed; 130 interrupted."""
    parser = argparse.ArgumentParser(description="Fetch published checkpoints of XMem and Cutie, checked.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="checkpoints (default: the published default)")
    parser.add_argument("--all", action="store_true", help="fetch every published checkpoint")
    parser.add_argument("--list", action="store_true", help="say what there is and what is here; fetch nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to put them in (default: %(default)s)")
    parser.set_defaults(output=manifest.download_folder())
    args = parser.parse_args()
    log_to_streams()
    try:
        return print_list(args.output) if args.list else fetch(list(args.names), args.all, args.output)
    except (XMemInferError, KeyboardInterrupt) as error:
        return report_error(error)


def fetch(names: list[str], every: bool, folder: Path) -> int:
    entries = {name: manifest.find_entry(name) for name in names or ["XMem"]}
    unknown = [name for name, entry in entries.items() if entry is None]
    if unknown:
        raise UsageError(f"unknown: {', '.join(unknown)}; published are {manifest.published_names()}")
    return max(bring(entry, folder) for entry in (manifest.PUBLISHED if every else entries.values()) if entry)


def print_list(folder: Path) -> int:
    for entry in manifest.PUBLISHED:
        here = "here" if (folder / entry.name).is_file() else "not here"
        print(f"{entry.name:<20} {entry.approx_bytes / 1e6:.0f} MB  {here:<8}  {entry.description}")
        print(f"{'':<20} sha256 {entry.sha256 or recorded_hash(folder / entry.name) or 'not known yet'}")
    print(f"folder: {folder}\nsource: {manifest.SOURCE}, {manifest.CUTIE_SOURCE}")
    return 0


def bring(entry: WeightsEntry, folder: Path) -> int:
    try:
        sha256, fetched = download(entry, folder)
    except XMemInferError as error:
        return report_error(error)
    print(f"{entry.name}: {'fetched' if fetched else 'already there'}, {folder / entry.name} (sha256 {sha256})")
    return 0
