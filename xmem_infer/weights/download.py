"""Download published checkpoints and verify them. Only `download` makes network connections."""

import http.client
import logging
import os
import socket
import ssl
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError

from filelock import FileLock, Timeout

from ..errors import EnvironmentFault, WeightsError
from ..io.atomic import write_whole
from .files import read_checkpoint
from .manifest import WeightsEntry, record_of, require_hash

TIMEOUT_S = 30.0  # without data, after which the connection counts as lost
ATTEMPTS = 5  # if connection or server fail
WAIT_S = 1.0  # before the second attempt; doubled before each further one
_RETRY_STATUSES = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes
log = logging.getLogger(__name__)


def download(entry: WeightsEntry, folder: Path) -> tuple[str, bool]:
    """Download a checkpoint into a folder, unless it is there already, and verify it.

    Returns its sha256, and whether this call downloaded it.

    An existing file that is readable is kept, and its hash is recorded if none was known. An unusable one is renamed to
    `<name>.unusable.pth` after the new file was verified. A file never has its final name before it was verified.

    Raises WeightsError if the file downloaded or found is not the expected one; EnvironmentFault if the network or the
    disk failed, or another download into the folder is running.
    """
    final = folder / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".downloads.part", timeout=0):
            sha256 = _hash_if_readable(final)
            if fetched := sha256 is None:
                sha256 = _replace(final, entry)
            require_hash(final, sha256, entry)
            line = f"{sha256}  {final.name}\n"
            write_whole(record_of(final), lambda to: to.write_text(line, encoding="utf-8"))
    except Timeout:
        raise EnvironmentFault(f"another download into {folder} is running: wait for it, then run this again") from None
    except OSError as error:
        raise EnvironmentFault(f"{final} cannot be written: {error.strerror or error}") from error
    return sha256, fetched


def _hash_if_readable(path: Path) -> str | None:
    """Return the sha256 of a checkpoint; None if there is no file or it is unusable."""
    if path.exists() and not path.is_file():
        raise EnvironmentFault(f"{path} is in the way: it is not a file")
    try:
        return read_checkpoint(path).sha256 if path.exists() else None
    except WeightsError:
        log.info(f"{path.name}: the file there cannot be used and will be replaced")
        return None


def _replace(final: Path, entry: WeightsEntry) -> str:
    """Fetch and verify a file, rename it to its final name and return its sha256. Raises OSError for disk errors."""
    part = final.with_name(f"{final.name}.part")
    for leftover in final.parent.glob(f"{part.name}*"):  # left by a killed process
        leftover.unlink()
    try:
        _fetch(entry, part)
        try:
            if part.stat().st_size > entry.max_bytes:
                raise WeightsError(f"too large to be {entry.name}: more than {entry.max_bytes:,} bytes")
            sha256 = read_checkpoint(part).sha256
            require_hash(final, sha256, entry)
        except WeightsError as error:
            raise WeightsError(f"what {entry.url} served was refused and removed: {error}") from error
        if final.exists():
            os.replace(final, final.with_name(f"{final.stem}.unusable{final.suffix}"))
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)
    return sha256


def _fetch(entry: WeightsEntry, part: Path) -> None:
    """Download `entry.url` to the file `part`. Raises OSError for disk errors."""
    import torch.hub

    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # torch.hub has no timeout argument and would wait forever
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return torch.hub.download_url_to_file(entry.url, str(part), progress=sys.stderr.isatty())
            except (URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
                problem = _temporary_problem(error, entry.url)
            if attempt < ATTEMPTS:
                pause = WAIT_S * 2 ** (attempt - 1)
                log.info(f"{entry.name}: {problem}; trying again in {pause:.0f} s")
                time.sleep(pause)
    finally:
        socket.setdefaulttimeout(previous_timeout)
    raise EnvironmentFault(
        f"{entry.url} could not be fetched: {problem}. Run the same command again, or save that address as "
        f"{part.with_suffix('')} with a tool that resumes"
    )


def _temporary_problem(error: Exception, url: str) -> str:
    """Describe a problem that a retry may solve; raise WeightsError or EnvironmentFault for any other."""
    if isinstance(error, HTTPError):
        if error.code in (404, 410):
            raise WeightsError(f"{url} does not exist ({error.code}): has the release moved? See weights/README.md")
        answer = f"{error.code} ({http.client.responses.get(error.code, 'unknown')})"
        if error.code not in _RETRY_STATUSES:
            raise EnvironmentFault(f"{url} answered {answer}: not allowed here?")
        return f"the server answered {answer}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise EnvironmentFault(f"the identity of {url} cannot be verified: {cause.verify_message or cause}")
    return "the server fell silent" if isinstance(cause, TimeoutError) else f"no connection ({cause})"
