"""One file over HTTP into a `.part` file: resumes, retries, never glues two versions, never exceeds a cap."""

import http.client
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..errors import EnvironmentFault, WeightsError
from .manifest import WeightsEntry
from .partial import PartFile
from .sniff import looks_like_web_page

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None: the server does not say)
Say = Callable[[str], None]

_BLOCK_BYTES = 2**18
_MOST_ATTEMPTS = 100  # even where each one brings something
_LONGEST_PAUSE_S = 30.0
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """The transfer stopped for a reason that may pass; the message says which."""


class _NoDowngrade(HTTPRedirectHandler):
    """Refuses to be sent from https to http: without a pinned hash, TLS is all that vouches for the file."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise EnvironmentFault(f"{req.full_url} sends downloads to {newurl}, which is not encrypted: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(
    entry: WeightsEntry, part: PartFile, progress: Progress, say: Say, timeout_s: float, attempts: int, wait_s: float
) -> None:
    """Bring the whole of `entry.url` into `part`, going on from what is there if the server still has that version.

    attempts: tries in a row that may bring nothing; the pause between tries doubles from wait_s. timeout_s: silence on
    the line that counts as a drop. Raises WeightsError (not the file: a web page, too large, not found) or
    EnvironmentFault (network, disk); what was received is kept for the next run unless it is useless.
    """
    barren = 0
    for _ in range(_MOST_ATTEMPTS):
        before = part.size
        try:
            _fetch_once(entry, part, progress, timeout_s)
            return
        except _Interrupted as reason:
            barren = 0 if part.size > before else barren + 1
            problem = str(reason)
        if barren >= attempts:
            break
        pause = min(wait_s * 2 ** max(barren - 1, 0), _LONGEST_PAUSE_S)
        say(f"{entry.name}: {problem}; trying again in {pause:.0f} s")
        time.sleep(pause)
    raise EnvironmentFault(
        f"{entry.url} could not be fetched: {problem}. {part.size:,} bytes are kept in {part.path.name}: the same "
        f"command goes on from there"
    )


def _fetch_once(entry: WeightsEntry, part: PartFile, progress: Progress, timeout_s: float) -> None:
    have, version = part.resumable(entry.url)
    headers = {"User-Agent": "xmem-infer", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        response = build_opener(_NoDowngrade).open(Request(entry.url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "").strip() == f"bytes */{have}":
                    return  # it was complete already
                part.forget()
                raise _Interrupted("what was kept does not fit the server's file, starting over") from None
            raise _status_problem(error.code, entry.url) from None
    except (OSError, http.client.HTTPException) as error:
        raise _connection_problem(error, entry.url) from error
    with response:
        if "html" in response.headers.get("Content-Type", "").lower():
            raise WeightsError(_web_page(entry.url))
        if response.status == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if start != have or _version(response.headers) not in ("", version):
                part.forget()
                raise _Interrupted("the file on the server has changed, starting over")
        elif response.status == 200:  # a first request, another version by now, or a server that cannot resume
            have, total = 0, _content_length(response.headers.get("Content-Length"))
        else:
            raise _status_problem(response.status, entry.url)
        _require_room(entry, part, have, total)
        if have == 0:
            part.begin(entry.url, _version(response.headers))
        _receive(response, entry, part, have, total, progress)


def _receive(
    response: http.client.HTTPResponse,
    entry: WeightsEntry,
    part: PartFile,
    have: int,
    total: int | None,
    progress: Progress,
) -> None:
    done = have
    try:
        with part.path.open("ab") as file:
            for block in _blocks(response, entry.url, None if total is None else total - have):
                if done == 0 and looks_like_web_page(block):
                    raise WeightsError(_web_page(entry.url))
                done += len(block)
                if done > entry.max_bytes:
                    raise WeightsError(_too_large(entry, f"more than {entry.max_bytes:,}"))
                file.write(block)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    except WeightsError:
        part.forget()
        raise
    except OSError as error:
        raise EnvironmentFault(
            f"{part.path} cannot be written after {done:,} bytes: {error.strerror or error}. What was received is "
            f"kept: with room made, the same command goes on from there"
        ) from error
    if total is not None and done < total:
        raise _Interrupted(f"the connection was closed after {done:,} of {total:,} bytes")


def _blocks(response: http.client.HTTPResponse, url: str, announced: int | None) -> Iterator[bytes]:
    """The body as it arrives, so that a drop loses nothing; stops at the announced length, if there is one."""
    left = announced
    while left is None or left > 0:
        try:
            block = response.read1(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left))
        except (OSError, http.client.HTTPException) as error:
            raise _connection_problem(error, url) from error
        if not block:
            return
        left = None if left is None else left - len(block)
        yield block


def _require_room(entry: WeightsEntry, part: PartFile, have: int, total: int | None) -> None:
    if total is None:
        return
    if total > entry.max_bytes:
        part.forget()
        raise WeightsError(_too_large(entry, f"{total:,}"))
    free = shutil.disk_usage(part.final.parent).free
    if total - have > free:
        raise EnvironmentFault(
            f"the disk of {part.final.parent} is too full for {entry.name}: {total - have:,} bytes to come, "
            f"{free:,} free"
        )


def _status_problem(code: int, url: str) -> Exception:
    if code in _WORTH_RETRYING:
        return _Interrupted(f"the server answered {code} ({http.client.responses.get(code, 'unknown')})")
    if code in (404, 410):
        return WeightsError(f"{url} does not exist ({code}): the release may have moved; see weights/README.md")
    return EnvironmentFault(f"{url} answered {code} ({http.client.responses.get(code, 'unknown')}): not allowed here?")


def _connection_problem(error: Exception, url: str) -> Exception:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return EnvironmentFault(f"the identity of {url} cannot be verified: {cause.verify_message or cause}")
    if isinstance(cause, TimeoutError):
        return _Interrupted("the server fell silent")
    return _Interrupted(f"no connection ({cause or type(error).__name__})")


def _content_range(text: str) -> tuple[int, int | None]:
    """(first byte, bytes in all) of a Content-Range header; (-1, None) for anything else."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    return (int(match[1]), None if match[2] == "*" else int(match[2])) if match else (-1, None)


def _content_length(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _version(headers: http.client.HTTPMessage) -> str:
    """What tells one version of the file from another: a strong ETag, else its date, else nothing."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _web_page(url: str) -> str:
    return f"{url} answered with a web page, not the file: a login page, a proxy or a moved release"


def _too_large(entry: WeightsEntry, found: str) -> str:
    return f"{entry.url} is too large to be {entry.name}: {found} bytes, at most {entry.max_bytes:,} allowed"
