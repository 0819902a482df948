"""Downloads from a local HTTP server that misbehaves on request."""

import hashlib
import http.server
import importlib.util
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kills import each_kill

from xmem_infer.errors import EnvironmentFault, WeightsError
from xmem_infer.weights import download as room
from xmem_infer.weights import manifest
from xmem_infer.weights.download import download
from xmem_infer.weights.files import read_checkpoint
from xmem_infer.weights.manifest import WeightsEntry

ROOT = Path(__file__).resolve().parents[2]
PAGE = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>" * 20
ATTEMPTS = 3


def checkpoint_bytes(seed, numbers=100_000):
    file = io.BytesIO()
    torch.save({"weight": torch.randn(numbers, generator=torch.Generator().manual_seed(seed))}, file)
    return file.getvalue()


OLD, NEW = checkpoint_bytes(0), checkpoint_bytes(1)


class Server(http.server.ThreadingHTTPServer):
    """A server of `content`; `script` lists the faults of the next requests, later ones are answered correctly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.modified = OLD, '"v1"', None
        self.script, self.seen, self.sent = [], [], 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the tests include clients that disconnect


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.seen.append(dict(self.headers))
        behaviour = server.script.pop(0) if server.script else {}
        body, headers = server.content, {}
        if "status" in behaviour:
            return self.answer(behaviour["status"], behaviour.get("headers", {}), PAGE)
        if "page" in behaviour:
            return self.answer(200, {"Content-Type": behaviour["page"]}, PAGE)
        if behaviour.get("silent"):
            time.sleep(behaviour["silent"])
        status, start = 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range") in (server.etag, server.modified) or behaviour.get("ignore_if_range")
        if asked and condition and not behaviour.get("ignore_range"):
            start = int(asked[1])
            if start >= len(body):
                return self.answer(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
            status, start = 206, start + behaviour.get("shift", 0)
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        headers |= {"ETag": server.etag} if server.etag else {}
        headers |= {"Last-Modified": server.modified} if server.modified else {}
        body = body[start:]
        if not behaviour.get("unannounced"):
            headers["Content-Length"] = str(len(body) + behaviour.get("length_off", 0))
        self.answer(status, headers, body, behaviour.get("drop_after"), behaviour.get("pause", 0))

    def answer(self, status, headers, body, drop_after=None, pause=0.0):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = body[:drop_after]
        for at in range(0, len(body), 65536):
            self.wfile.write(body[at : at + 65536])
            self.server.sent += len(body[at : at + 65536])
            time.sleep(pause)


@pytest.fixture(autouse=True)
def quick_and_logged(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "xmem_infer")
    for name, value in (("TIMEOUT_S", 5.0), ("ATTEMPTS", ATTEMPTS), ("WAIT_S", 0.001)):
        monkeypatch.setattr(room, name, value)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def entry(server):
    return WeightsEntry("XMem.pth", "test", url=f"http://127.0.0.1:{server.server_port}/XMem.pth", max_bytes=2**20)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def files_in(folder):
    """Return the file names in a folder, without the lock file."""
    return {path.name for path in folder.iterdir()} - {".downloads.part"}


def arrived(folder, content):
    """Check that the file is complete, its hash is recorded, and no other file is left; return True."""
    assert files_in(folder) == {"XMem.pth", "XMem.pth.sha256"}
    assert (folder / "XMem.pth").read_bytes() == content
    assert (folder / "XMem.pth.sha256").read_text() == f"{sha256(content)}  XMem.pth\n"
    assert "weight" in read_checkpoint(folder / "XMem.pth").tensors
    return True


# ---- successful downloads


def test_fresh_download(server, entry, tmp_path, caplog):
    folder = tmp_path / "made" / "weights"
    assert download(entry, folder) == (sha256(OLD), True)
    assert arrived(folder, OLD)
    assert not caplog.records


def test_an_existing_file_causes_no_request(server, entry, tmp_path):
    download(entry, tmp_path)
    before = (tmp_path / "XMem.pth.sha256").read_bytes()
    assert download(entry, tmp_path) == (sha256(OLD), False)
    assert len(server.seen) == 1
    assert (tmp_path / "XMem.pth.sha256").read_bytes() == before


def test_a_manually_placed_file_is_kept_and_its_hash_recorded(server, entry, tmp_path):
    (tmp_path / "XMem.pth").write_bytes(NEW)
    assert download(entry, tmp_path) == (sha256(NEW), False)
    assert server.seen == []
    assert arrived(tmp_path, NEW)


@pytest.mark.parametrize("there", [OLD[:5000], b"", PAGE])
def test_an_unusable_file_is_replaced_and_a_copy_is_kept(server, entry, tmp_path, there, caplog):
    (tmp_path / "XMem.pth").write_bytes(there)
    assert download(entry, tmp_path) == (sha256(OLD), True)
    assert "will be replaced" in caplog.text
    assert (tmp_path / "XMem.pth").read_bytes() == OLD
    assert (tmp_path / "XMem.unusable.pth").read_bytes() == there


def test_an_unusable_file_is_kept_if_the_download_fails(server, entry, tmp_path):
    (tmp_path / "XMem.pth").write_bytes(OLD[:5000])
    server.script = [{"status": 404}]
    with pytest.raises(WeightsError):
        download(entry, tmp_path)
    assert files_in(tmp_path) == {"XMem.pth"}


# ---- lost connections


def test_a_slow_connection_is_not_a_timeout(server, entry, tmp_path, caplog, monkeypatch):
    server.script = [{"pause": 0.4}]  # for each of seven blocks
    monkeypatch.setattr(room, "TIMEOUT_S", 2.0)
    download(entry, tmp_path)
    assert arrived(tmp_path, OLD)
    assert not caplog.records


@pytest.mark.fault("server stops sending data", "download is retried")
def test_a_silent_server_is_retried(server, entry, tmp_path, caplog, monkeypatch):
    server.script = [{"silent": 3.0}]
    monkeypatch.setattr(room, "TIMEOUT_S", 1.0)
    download(entry, tmp_path)
    assert arrived(tmp_path, OLD)
    assert "fell silent" in caplog.text
    assert socket.getdefaulttimeout() is None


@pytest.mark.fault("download ends early", "error, the partial file is deleted")
def test_a_download_that_ends_early_is_detected(server, entry, tmp_path):
    server.script = [{"drop_after": 150_000}]
    with pytest.raises(WeightsError, match=r"refused and removed: .* is cut off"):
        download(entry, tmp_path)
    assert files_in(tmp_path) == set()


@pytest.mark.fault(
    "download killed with SIGKILL", "no file under the final name; the next download removes the partial file"
)
def test_leftovers_of_a_killed_download_are_deleted(server, entry, tmp_path):
    server.script = [{"pause": 0.3}]
    code = (
        "import sys; from pathlib import Path; from xmem_infer.weights.download import download\n"
        "from xmem_infer.weights.manifest import WeightsEntry\n"
        "download(WeightsEntry('XMem.pth', 'test', url=sys.argv[1]), Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, entry.url, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("XMem.pth.part*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob("XMem.pth.part*"))
    assert not (tmp_path / "XMem.pth").exists()
    download(entry, tmp_path)
    assert arrived(tmp_path, OLD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("there", [None, PAGE])
@pytest.mark.fault("SIGKILL at any step of a download", "the next download succeeds")
def test_a_download_succeeds_after_a_kill_at_any_step(tmp_path, there):
    content = checkpoint_bytes(0, numbers=10)
    (tmp_path / "source").write_bytes(content)
    entry = WeightsEntry("XMem.pth", "test", url=(tmp_path / "source").as_uri())

    def before(place):
        if there is not None:
            (place / "XMem.pth").write_bytes(there)

    for place in each_kill(tmp_path, lambda at: download(entry, at), before):
        assert not (place / "XMem.pth").exists() or (place / "XMem.pth").read_bytes() in (content, there)
        download(entry, place)
        (place / "XMem.unusable.pth").unlink(missing_ok=True)
        assert arrived(place, content)


# ---- answers that are not the file


def test_a_busy_server_is_retried(server, entry, tmp_path, caplog):
    server.script = [{"status": 503}, {"status": 500}]
    download(entry, tmp_path)
    assert arrived(tmp_path, OLD)
    assert "503 (Service Unavailable)" in caplog.text


@pytest.mark.fault("server is busy on every attempt", "error after a limited number of attempts")
def test_retries_of_a_busy_server_are_limited(server, entry, tmp_path):
    server.script = [{"status": 503}] * 9
    with pytest.raises(EnvironmentFault, match="could not be fetched: the server answered 503"):
        download(entry, tmp_path)
    assert len(server.seen) == ATTEMPTS
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize(("status", "said"), [(404, "does not exist"), (410, "does not exist"), (403, "answered 403")])
@pytest.mark.fault("server answers {status}", "error without a retry")
def test_client_errors_are_not_retried(server, entry, tmp_path, status, said):
    server.script = [{"status": status}]
    with pytest.raises(EnvironmentFault, match=said):
        download(entry, tmp_path)
    assert len(server.seen) == 1


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.fault("server returns an HTML page instead of the weights", "error, the file is deleted")
def test_web_page_in_place_of_the_file(server, entry, tmp_path, content_type):
    server.script = [{"page": content_type}]
    with pytest.raises(WeightsError, match=r"refused and removed: .* is a web page"):
        download(entry, tmp_path)
    assert len(server.seen) == 1
    assert files_in(tmp_path) == set()


def test_too_large_is_refused(server, entry, tmp_path):
    with pytest.raises(WeightsError, match=r"too large to be XMem\.pth: more than 200,000"):
        download(replace(entry, max_bytes=200_000), tmp_path)
    assert files_in(tmp_path) == set()


def test_a_missing_content_length_is_accepted(server, entry, tmp_path):
    server.script = [{"unannounced": True}]
    assert download(entry, tmp_path) == (sha256(OLD), True)
    assert arrived(tmp_path, OLD)


def test_an_unrelated_file_at_the_url_is_refused(server, entry, tmp_path):
    server.content = os.urandom(50_000).replace(b"<", b" ")
    with pytest.raises(WeightsError, match=r"refused and removed: .* is not a checkpoint"):
        download(entry, tmp_path)
    assert files_in(tmp_path) == set()


def test_a_refused_connection(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        closed = WeightsEntry(
            "XMem.pth", "test", url=f"http://127.0.0.1:{taken.getsockname()[1]}/XMem.pth", max_bytes=2**20
        )
        with pytest.raises(EnvironmentFault, match="no connection"):
            download(closed, tmp_path)


# ---- hashes


def test_the_pinned_hash_is_checked(server, entry, tmp_path):
    with pytest.raises(WeightsError, match="refused and removed") as caught:
        download(replace(entry, sha256=sha256(NEW)), tmp_path)
    assert sha256(NEW) in str(caught.value)
    assert sha256(OLD) in str(caught.value)
    assert files_in(tmp_path) == set()
    download(replace(entry, sha256=sha256(OLD)), tmp_path)
    assert arrived(tmp_path, OLD)


def test_the_recorded_hash_is_checked_when_a_file_is_fetched_again(server, entry, tmp_path):
    download(entry, tmp_path)
    (tmp_path / "XMem.pth").unlink()
    server.content, server.etag = NEW, '"v2"'
    with pytest.raises(WeightsError, match=r"delete XMem\.pth\.sha256"):
        download(entry, tmp_path)
    assert files_in(tmp_path) == {"XMem.pth.sha256"}
    server.content = OLD
    download(entry, tmp_path)
    assert arrived(tmp_path, OLD)


@pytest.mark.fault("downloaded file has changed", "error; the file is not overwritten")
def test_changed_file_is_reported_not_overwritten(server, entry, tmp_path):
    download(entry, tmp_path)
    (tmp_path / "XMem.pth").write_bytes(NEW)
    with pytest.raises(WeightsError, match=sha256(NEW)):
        download(entry, tmp_path)
    assert (tmp_path / "XMem.pth").read_bytes() == NEW
    assert len(server.seen) == 1


def test_every_file_has_its_own_hash_record(server, entry, tmp_path):
    download(entry, tmp_path)
    server.content, server.etag = NEW, '"v2"'
    download(replace(entry, name="XMem-s2.pth"), tmp_path)
    assert sha256(OLD) in (tmp_path / "XMem.pth.sha256").read_text()
    assert sha256(NEW) in (tmp_path / "XMem-s2.pth.sha256").read_text()


# ---- two at once, and the disk


@pytest.mark.fault("two downloads into one folder", "the second one ends with an error")
def test_a_concurrent_download_is_refused_without_side_effects(server, entry, tmp_path):
    server.script = [{"pause": 0.2}]
    first = threading.Thread(target=download, args=(entry, tmp_path))
    first.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(EnvironmentFault, match=r"another download into .* is running"):
        download(entry, tmp_path)
    first.join(60)
    assert arrived(tmp_path, OLD)
    assert download(entry, tmp_path) == (sha256(OLD), False)


@pytest.mark.fault("disk full during a download", "error, no file is left")
def test_a_full_disk_is_reported_and_no_file_is_left(server, entry, tmp_path):
    pytest.importorskip("resource")  # POSIX: a file size limit stands in for a full disk
    code = (
        "import resource, sys; from pathlib import Path; from xmem_infer.weights.download import download\n"
        "from xmem_infer.weights.manifest import WeightsEntry; from xmem_infer.errors import EnvironmentFault\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: download(WeightsEntry('XMem.pth', 'test', url=sys.argv[1]), Path(sys.argv[2]))\n"
        "except EnvironmentFault as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, entry.url, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert "XMem.pth cannot be written: File too large" in run.stdout, run.stderr
    assert files_in(tmp_path) == set()


def test_a_folder_that_cannot_be_created(server, entry, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        download(entry, tmp_path / "file")
    (tmp_path / "XMem.pth").mkdir()
    with pytest.raises(EnvironmentFault, match="in the way"):
        download(entry, tmp_path)
    assert server.seen == []


# ---- the script


@pytest.fixture
def script(entry, monkeypatch):
    """script(*arguments) -> exit code, with the test server's two files as the published ones."""
    spec = importlib.util.spec_from_file_location("download_weights", ROOT / "scripts" / "download_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries = (entry, replace(entry, name="XMem-s2.pth", url=entry.url.replace("XMem", "XMem-s2")))
    monkeypatch.setattr(manifest, "PUBLISHED", entries)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["download_weights.py", *map(str, arguments)])
        return module.main()

    return run


def test_script_fetches_the_default_or_the_named_or_all(script, server, tmp_path, capsys):
    assert script("--output", tmp_path / "a") == 0
    assert files_in(tmp_path / "a") == {"XMem.pth", "XMem.pth.sha256"}
    assert f"XMem.pth: fetched, {tmp_path / 'a' / 'XMem.pth'} (sha256 {sha256(OLD)})" in capsys.readouterr().out
    assert script("xmem-s2", "--output", tmp_path / "b") == 0
    assert files_in(tmp_path / "b") == {"XMem-s2.pth", "XMem-s2.pth.sha256"}
    assert script("--all", "--output", tmp_path / "a") == 0
    assert "XMem.pth: already there" in capsys.readouterr().out
    assert files_in(tmp_path / "a") == {"XMem.pth", "XMem-s2.pth", "XMem.pth.sha256", "XMem-s2.pth.sha256"}


def test_script_continues_after_a_failure_and_returns_an_exit_code(script, server, tmp_path, capsys):
    server.script = [{"status": 404}]
    assert script("--all", "--output", tmp_path) == 3
    assert "does not exist (404)" in capsys.readouterr().err
    assert files_in(tmp_path) == {"XMem-s2.pth", "XMem-s2.pth.sha256"}


def test_script_lists_without_fetching(script, server, tmp_path, capsys):
    script("XMem", "--output", tmp_path)
    capsys.readouterr()
    assert script("--list", "--output", tmp_path) == 0
    out = capsys.readouterr().out
    assert re.search(r"XMem\.pth .* here ", out)
    assert re.search(r"XMem-s2\.pth .* not here ", out)
    assert sha256(OLD) in out
    assert len(server.seen) == 1


def test_script_refuses_unknown_names_before_any_download(script, server, tmp_path, capsys):
    assert script("XMem", "zebra", "--output", tmp_path / "none") == 2
    assert "unknown: zebra; published are XMem.pth, XMem-s2.pth" in capsys.readouterr().err
    assert server.seen == []
    assert not (tmp_path / "none").exists()


def test_script_as_a_process(tmp_path):
    run = subprocess.run(
        [sys.executable, ROOT / "scripts" / "download_weights.py", "--list", "--output", "somewhere"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "XMem-no-sensory.pth" in run.stdout
    assert list(tmp_path.iterdir()) == []
