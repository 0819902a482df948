"""Seeded random actions on the page: in this process, and on the real command, which is killed at random moments."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMES, HEIGHT, WIDTH, packed, square
from starlette.testclient import httpx  # httpx2; on Python 3.10, which it does not support, httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

DISCONNECTED = (httpx.TransportError, ConnectionClosed, OSError)


def start(folder, clip, weights, *settings):
    command = [sys.executable, "-m", "xmem_infer", "page", str(clip), f"project={folder}", f"weights={weights}"]
    command += ["port=0", "browser=false", "data.size=-1", "runtime.threads=1", "runtime.precision=fp32", *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(r"page: (\S+)/\?token=(\S+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, match[1], match[2]
    raise AssertionError("".join(lines))


class Browser:
    def __init__(self, address, token):
        self.client = httpx.Client(base_url=address, timeout=60)
        cookies = dict(self.client.get("/api/state", params={"token": token}).cookies)
        self.client.cookies.update(cookies)
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        live = connect(address.replace("http", "ws") + "/api/live", additional_headers=header)
        self.socket = ExitStack().enter_context(live)
        self.versions = {}  # frame -> version in its last mask event
        self.number = 0

    def act(self, action):
        self.number += 1
        self.socket.send(json.dumps({**action, "id": self.number}))
        while True:
            event = json.loads(self.socket.recv(timeout=60))
            if event["event"] == "mask":
                self.versions[str(event["index"])] = event["version"]
            if event["event"] in ("done", "error") and event.get("id") == self.number:
                assert "failed" not in event.get("message", ""), event
                return event["event"] == "done"

    def paint(self, index, ids):
        return self.client.put(f"/api/mask/{index}", content=packed(ids)).raise_for_status()

    def snapshot(self):
        state = self.client.get("/api/state").raise_for_status().json()
        paths = {index: f"/api/mask/{index}" for index in state["frames"]}
        masks = {index: self.client.get(path).raise_for_status().content for index, path in paths.items()}
        return {key: state[key] for key in ("objects", "references", "absent", "frames")} | {"masks": masks}


def random_action(chance):
    index, object_id = chance.randrange(FRAMES), chance.randrange(1, 4)
    first = chance.randrange(FRAMES)
    span = {"first": first, "last": min(FRAMES - 1, first + chance.randrange(3))}
    direction = chance.choice(["forward", "backward", "both"])
    return chance.choice([
        {"do": "paint", "index": index, "value": object_id, "at": [chance.randrange(30), chance.randrange(30)]},
        {"do": "paint", "index": index, "value": object_id, "at": [chance.randrange(30), chance.randrange(30)]},
        {"do": "add_object"},
        {"do": "change_object", "object_id": object_id, "name": f"name {chance.randrange(100)}"},
        {"do": "change_object", "object_id": object_id, "colour": f"#{chance.randrange(1 << 24):06x}"},
        {"do": "remove_object", "object_id": object_id},
        {"do": "set_absent", "object_id": object_id, **span, "absent": chance.random() < 0.7},
        {"do": "remove_reference", "index": index},
        {"do": "propagate", "direction": direction, "first": 0, "last": FRAMES - 1},
        {"do": "propagate", "direction": direction, **span},
        {"do": "undo"}, {"do": "undo"}, {"do": "redo"}, {"do": "stop"}, {"do": "next_to_fix"},
        {"do": "goto", "index": index},
    ])  # fmt: skip


def perform(browser, action):
    """Return whether the server has acknowledged the action."""
    if action["do"] == "paint":
        return bool(browser.paint(action["index"], square(action["index"], action["value"], action["at"])))
    return browser.act(action)


def is_restored(browser, before, pending, propagations):
    """Return whether the acknowledged state `before` is there, or can be reached by undo or redo.

    pending: the action that was not acknowledged; it may have been performed as one step, or not at all.
    propagations: number of propagations started since `before`; each may have added a step.
    """
    for move in (None, "redo" if pending == "undo" else "undo", *["undo"] * propagations):
        if move is not None:
            browser.act({"do": move})
        if browser.snapshot() == before:
            return True
    return False


def kill_rounds(kills, seed, folder, clip, weights):
    chance, before, pending, propagations, versions = random.Random(seed), None, None, 0, {}
    for round_number in range(kills + 1):
        process, address, token = start(folder, clip, weights)
        try:
            browser = Browser(address, token)
            if before is not None:
                frames = browser.client.get("/api/state").json()["frames"]
                if propagations and pending in (None, "goto", "next_to_fix", "stop"):
                    assert all(frames[index]["version"] >= version for index, version in versions.items())
                assert is_restored(browser, before, pending, propagations), (round_number, pending, propagations)
            if round_number == kills:
                return
            killer = threading.Timer(chance.uniform(0.3, 2.5), process.kill)
            killer.start()
            propagations = 0
            before = browser.snapshot()
            while True:
                action = random_action(chance)
                pending = action["do"]
                done = perform(browser, action)
                if done and pending == "propagate":
                    propagations, versions = propagations + 1, browser.versions
                    versions.clear()
                elif pending not in ("goto", "next_to_fix") and (done or pending in ("stop", "propagate")):
                    before, propagations = browser.snapshot(), 0  # if killed in this line, `before` is one step older
                pending = None
        except DISCONNECTED:
            process.wait()
            killer.cancel()
        finally:
            process.kill()
            process.wait()


def test_kills_lose_no_acknowledged_action(clip, tiny_weights, tmp_path):
    kill_rounds(2, 1, tmp_path / "project", clip, tiny_weights)


@pytest.mark.slow
@pytest.mark.fault("kill -9 of the page's server at 20 random moments", "no acknowledged action is lost")
def test_twenty_kills_lose_no_acknowledged_action(clip, tiny_weights, tmp_path):
    kill_rounds(20, 7, tmp_path / "project", clip, tiny_weights)


def perform_random_actions(page, count, seed):
    """Perform random actions, check that none of them fails, and return how many were accepted."""
    chance, done = random.Random(seed), 0
    with page.tab() as tab:
        for _ in range(count):
            action = random_action(chance)
            if action["do"] == "paint":
                answer = page.put(action["index"], square(action["index"], action["value"], action["at"]))
                assert answer.status_code == 200, answer.text
                done += 1
            else:
                event = tab.do(action.pop("do"), **action)
                assert "failed" not in event.get("message", ""), (action, event)
                done += event["event"] == "done"
            if chance.random() < 0.1:
                for path in (f"/api/frame/{chance.randrange(8)}.jpg?w=48", f"/api/mask/{chance.randrange(8)}"):
                    assert page.client.get(path).status_code in (200, 404)
        tab.do("stop")
        assert not any("failed" in event.get("message", "") for event in tab.events)
    return done


def check_consistent(page):
    """Check that all steps can be undone and redone, and that masks, absences and files agree with the state."""
    state = page.state()
    with page.tab() as tab:
        steps = 0
        while page.state()["undo"]:
            tab.do("undo")
            steps += 1
        for _ in range(steps):
            assert tab.do("redo")["event"] == "done"
    again = page.state()
    for key in ("objects", "references", "absent", "frames"):
        assert again[key] == state[key], key
    for index in state["frames"]:
        ids = page.mask(index)
        assert ids.shape == (HEIGHT, WIDTH) and set(np.unique(ids)) <= {0, *(one["id"] for one in state["objects"])}
        for one, spans in state["absent"].items():
            assert not any(a <= int(index) <= b for a, b in spans) or int(one) not in ids
    references = sorted(path.stem for path in (page.folder / "references").glob("*.png"))
    assert references == [f"{index:05d}" for index in state["references"]]


def test_random_actions_leave_a_consistent_project(serve):
    with serve() as page:
        assert perform_random_actions(page, 60, 3) > 20
        check_consistent(page)
        state, folder = page.state(), page.folder
    with serve(folder) as page:
        again = page.state()
        assert [again[key] for key in ("objects", "references", "absent")] == [
            state[key] for key in ("objects", "references", "absent")
        ]
        assert list(again["frames"]) == list(state["frames"])


@pytest.mark.slow
@pytest.mark.fault("1,000 random actions in the page", "no request fails, and all steps can be undone and redone")
def test_a_thousand_random_actions_leave_a_consistent_project(serve):
    with serve() as page:
        perform_random_actions(page, 1000, 11)
        check_consistent(page)


def test_ctrl_c_during_propagation_saves_and_exits_with_130(clip, tiny_weights, tmp_path):
    process, address, token = start(tmp_path / "project", clip, tiny_weights)
    browser = Browser(address, token)
    browser.paint(0, square(0))
    browser.act({"do": "propagate", "direction": "forward", "first": 0, "last": FRAMES - 1})
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert (tmp_path / "project" / "confidence").is_dir()
    assert not [path for path in Path(tmp_path).rglob("*") if ".partial" in path.name]
    if os.name == "posix":
        assert (tmp_path / "project" / "records" / "token").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_server_on_all_addresses_accepts_no_other_host_names(clip, tiny_weights, tmp_path):
    process, address, token = start(tmp_path / "project", clip, tiny_weights, "host=0.0.0.0")
    try:
        for host, status in (("192.0.2.7:9000", 200), ("localhost", 200), ("evil.example", 421)):
            answer = httpx.get(f"{address}/api/state", params={"token": token}, headers={"Host": host})
            assert answer.status_code == status, host
    finally:
        process.kill()
        process.wait()
