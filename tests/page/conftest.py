"""Fixtures: a small video, and the server of the page for it in this process."""

import json
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from xmem_infer.config import DataConfig, MemoryConfig, RuntimeConfig
from xmem_infer.io.frames import open_frames
from xmem_infer.page.app import make_app
from xmem_infer.page.hub import Hub
from xmem_infer.page.project import Project
from xmem_infer.page.session import Session

HEIGHT, WIDTH, FRAMES = 64, 96, 6
TOKEN = "token-of-the-tests"
BOUND = "127.0.0.1"
ADDRESS = f"http://{BOUND}:8765"


def square(index, value=1, at=(10, 10)):
    """Return (H, W) object ids with a square that moves by 4 px per frame."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[at[0] : at[0] + 24, at[1] + 4 * index : at[1] + 4 * index + 24] = value
    return ids


def packed(ids):
    """Return a label image as it is sent to the server."""
    return zlib.compress(np.ascontiguousarray(ids))


def labels(answer):
    return np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A folder of frames called `clip`: a bright square on a dark background."""
    folder = tmp_path_factory.mktemp("video") / "clip"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3))
    for index in range(FRAMES):
        image = (noise + 150 * square(index)[..., None]).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index:05d}.png")
    return folder


class Page:
    """The server of one project in this process, and an HTTP client that has the token."""

    def __init__(self, project, video, client, session):
        self.folder, self.video, self.client, self.session = project, video, client, session

    def put(self, index, ids, **options):
        return self.client.put(f"/api/mask/{index}", content=packed(ids), **options)

    def mask(self, index):
        return labels(self.client.get(f"/api/mask/{index}").raise_for_status())

    def state(self):
        return self.client.get("/api/state").json()

    @contextmanager
    def tab(self):
        with self.client.websocket_connect(ADDRESS.replace("http", "ws") + "/api/live") as socket:
            yield Live(socket)

    def do(self, action, **values):
        with self.tab() as tab:
            return tab.do(action, **values)


class Live:
    """WebSocket connection of a tab; `events` are all received events."""

    def __init__(self, socket):
        self.socket, self.events = socket, [socket.receive_json()]

    def do(self, action, **values):
        """Send an action and return the answer."""
        self.socket.send_text(json.dumps({"do": action, "id": len(self.events), **values}))
        return self.until(lambda event: event["event"] in ("done", "error") and "id" in event)

    def until(self, condition):
        while True:
            event = self.socket.receive_json()
            self.events.append(event)
            if condition(event):
                return event

    def propagated(self, direction="forward", first=0, last=FRAMES - 1):
        """Propagate, wait for the end, and return all mask events."""
        before = len(self.events)
        answer = self.do("propagate", direction=direction, first=first, last=last)
        assert answer["event"] == "done", answer
        self.until(lambda event: event["event"] == "progress" and not event["running"])
        return [event for event in self.events[before:] if event["event"] == "mask"]


@contextmanager
def server(folder, video, weights):
    data, hub = DataConfig(size=-1), Hub()
    project = Project(folder, open_frames(video, data), video)
    session = Session(project, open_frames(video, data), hub.publish)
    settings = {"weights": weights, "data": data, "memory": MemoryConfig()}
    settings["runtime"] = RuntimeConfig(precision="fp32")
    session.worker.load(settings, project.source.size, session.on_change)
    client = TestClient(make_app(session, hub, TOKEN, BOUND), base_url=ADDRESS, raise_server_exceptions=False)
    with client:
        client.get("/api/state", params={"token": TOKEN}).raise_for_status()
        yield Page(folder, video, client, session)


@pytest.fixture
def serve(clip, tiny_weights, tmp_path):
    """Function serve(folder=...) that returns a context manager of a `Page`."""
    return lambda folder=None: server(folder or tmp_path / "clip.project", clip, tiny_weights)


@pytest.fixture(scope="module")
def serve_module(clip, tiny_weights, tmp_path_factory):
    """Like `serve`, for a page that is shared by the tests of a module."""
    return lambda: server(tmp_path_factory.mktemp("page") / "clip.project", clip, tiny_weights)
