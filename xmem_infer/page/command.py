"""`xmem-infer page VIDEO [MASK]`: serve the page for one video until Ctrl-C."""

import asyncio
import logging
import os
import secrets
import socket
import sys
import webbrowser
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import DataConfig, LateObjects, MemoryConfig, RuntimeConfig, read_choices, require
from ..datasets.mask_files import find_masks
from ..datasets.video_input import VideoInput
from ..errors import EnvironmentFault, UsageError
from ..interrupts import check
from ..io.atomic import disk_fault, locked
from ..io.frames import IndexedFrames, frame_name, open_frames
from ..io.listing import describe_contents, existing_path
from .project import Project

log = logging.getLogger(__name__)

PORT = 8765
PORTS = 20  # number of consecutive ports to try if none was requested
MAX_MESSAGE = 64 << 10  # bytes of a WebSocket message


@dataclass
class PageConfig:
    video_dir: str | None = None  # video file or folder of frames
    mask: str | None = None  # image (first frame) or folder of masks named after frames; null: no mask is given
    project: str | None = None  # folder; null: output/<video>.project; the output folder of a run becomes a project
    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0: reachable from other machines, too
    fps: float | None = None  # frames per second to play and export a folder of frames at; null: 24
    port: int | None = None  # null: 8765, or the next one that is free
    browser: bool = True  # open the page in a browser if there is a desktop
    weights: str = "auto"  # path, or the name of a published checkpoint
    data: DataConfig = field(default_factory=DataConfig)
    memory: MemoryConfig = field(
        default_factory=MemoryConfig, metadata={"unread": ("load", "save", "frozen", "late_objects")}
    )
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        read_choices(self)
        require(self.fps is None or 0.1 <= self.fps <= 1000, "fps", self.fps, "null or from 0.1 to 1000")
        require(self.port is None or 0 <= self.port < 65536, "port", self.port, "null or 0 to 65535")
        for key in ("load", "save"):
            value = getattr(self.memory, key)
            require(value is None, f"memory.{key}", value, "left out: the page reads and writes no memory files")
        late = self.memory.late_objects
        allowed = "left out: the page keeps the frames of masks in memory permanently, which published cannot"
        require(late is LateObjects.aligned, "memory.late_objects", late.value, allowed)


def page(config: PageConfig) -> int:
    """Serve the page until a signal ends it.

    Raises:
        UsageError: The video, mask or project cannot be used, or the server cannot listen on the address.
        EnvironmentFault: Packages of the page are not installed, the project is in use, or the disk fails.
    """
    if missing := [name for name in ("fastapi", "uvicorn", "websockets") if find_spec(name) is None]:
        raise EnvironmentFault(f"the page needs {', '.join(missing)}: pip install 'xmem-infer[page]'")
    if not config.video_dir:
        raise UsageError("video_dir is not set. Give one video: xmem-infer page VIDEO [MASK]")
    path = existing_path(config.video_dir, "video_dir")
    source = open_frames(path, config.data)
    folder = Path(config.project).expanduser() if config.project else Path("output") / f"{source.name}.project"
    _refuse_foreign(folder)
    with locked(folder / "records", f"another program is writing to {folder}", "project"):
        try:
            project = Project(folder, source, path)
        except OSError as error:
            raise disk_fault(error, folder) from error
        _serve(config, project, _given(config, path, source))
    check()  # raise the interrupt if a signal ended the server
    return 0


def _refuse_foreign(folder: Path) -> None:
    """Raise UsageError if a folder is not empty, but neither a project nor the output of a run."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("project.json", "masks", "records")):
        return
    if (contents := describe_contents(folder)) != "nothing":
        raise UsageError(
            f"project={folder} holds {contents}, and no project: give a folder that is new or empty, or the output "
            "folder of a run"
        )


def _given(config: PageConfig, path: Path, source: IndexedFrames) -> dict[int, Path]:
    """Return the mask files given on the command line, by frame index."""
    if config.mask is None:
        return {}
    mask = existing_path(config.mask, "mask")
    files, _ = find_masks(VideoInput(source.name, path, mask, True, may_start_late=True), source)
    names = {frame_name(source, index): index for index in range(len(source))}
    return {names[name]: file for name, file in files.items()}


def adopted(project: Project, given: dict[int, Path]) -> dict[int, Path]:
    """Return the masks that become references of a new project: those given, and the first one of a run's output."""
    if not project.is_new:
        return {}
    first = min(project.frames, default=None)
    return given if first is None else {first: project.mask_path(first), **given}


def _serve(config: PageConfig, project: Project, given: dict[int, Path]) -> None:
    import uvicorn

    from .app import make_app
    from .hub import Hub
    from .session import Session

    hub = Hub()
    session = Session(project, open_frames(project.video, config.data), hub.publish, config.fps)
    if given := adopted(project, given):
        session.adopt(given.items())
    token = _token(project.folder / "records" / "token")
    listening = _listen(config)
    host, port = listening.getsockname()[:2]
    app = make_app(session, hub, token, config.host)
    settings = {name: getattr(config, name) for name in ("weights", "memory", "runtime", "data")}
    session.worker.load(settings, project.source.size, session.on_change)
    local = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{local}]' if ':' in local else local}:{port}/?token={token}"
    log.info(f"project: {project.folder}\npage: {address}\nCtrl-C stops it; everything is saved as it happens")
    if config.browser and _has_desktop():
        webbrowser.open(address)
    options: dict[str, Any] = {"ws_max_size": MAX_MESSAGE, "timeout_graceful_shutdown": 2, "log_level": "warning"}
    server = uvicorn.Server(uvicorn.Config(app, server_header=False, proxy_headers=False, **options))
    asyncio.run(server.serve(sockets=[listening]))


def _token(path: Path) -> str:
    """Return the secret token of a project, created once so that open pages reconnect after a restart of the server."""
    with suppress(OSError):
        stat = path.stat()
        is_private = stat.st_mode & 0o077 == 0 and stat.st_uid == os.getuid() if os.name == "posix" else True
        saved = path.read_text(encoding="ascii")
        if is_private and len(saved) == len(secrets.token_urlsafe(32)):
            return saved
    token = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token)
    return token


def _listen(config: PageConfig) -> socket.socket:
    from .security import is_local

    if not is_local(config.host):
        log.warning(
            f"warning: host={config.host}: the page can be reached from other machines, by anybody who has its address "
            "with the token, and what is sent is not encrypted. A port forwarded by ssh -L is safer"
        )
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    for port in range(PORT, PORT + PORTS) if config.port is None else [config.port]:
        try:  # connections of the browser are queued until the server accepts them
            return socket.create_server((config.host, port), family=family, dualstack_ipv6=family is socket.AF_INET6)
        except OSError as error:
            reason = error.strerror or error
    tried = f"port {config.port}" if config.port is not None else f"ports {PORT} to {PORT + PORTS - 1}"
    raise UsageError(f"host={config.host}: {tried} cannot be opened for listening: {reason}; give another port=NUMBER")


def _has_desktop() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
