"""Helpers for tests of the page in a real browser: `Server` runs the real server, `Editor` controls a tab."""

import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path
from shutil import which

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARGIN = 14  # px around a fitted frame, as in view.js


def chromium():
    """Return the path of Chromium or Chrome, or None."""
    return which("chromium") or which("chromium-browser") or which("google-chrome")


class Server:
    """Runs `scripts/page.py` on one video in a separate process."""

    def __init__(self, video, project, size=240):
        script = [sys.executable, str(ROOT / "scripts" / "page.py")]
        self.command = [*script, f"video_dir={video}", f"project={project}", f"data.size={size}", "browser=false"]
        self.folder, self.port = Path(project).parent, 0

    def start(self):
        log = self.folder / "page.log"
        with log.open("w") as output:
            command, environment = [*self.command, f"port={self.port}"], self._environment()
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output, env=environment)
        end = time.monotonic() + 120
        while not (match := re.search(r"http://\S+?:(\d+)/\S+", log.read_text())):
            assert self.process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        self.url, self.port = match[0], int(match[1])
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    @staticmethod
    def _environment():
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


class Editor:
    """One tab, operated like a user would; `value` evaluates an expression of `store` and `shown`."""

    def __init__(self, context, url):
        self.tab, self.errors = context.new_page(), []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.open(url)

    def open(self, url):
        self.tab.goto(url)
        self.tab.wait_for_selector("body:not(.starting)")
        self.until("shown.index === store.index")

    def value(self, expression):
        modules = "Promise.all([import('/static/store.js'), import('/static/editor.js')])"
        return self.tab.evaluate(f"{modules}.then(([{{ store }}, {{ shown }}]) => {expression})")

    def until(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"{expression} stayed {value}; {self.value('store.state')}"
            self.tab.wait_for_timeout(30)
        return value

    def at(self, x, y):
        """Return the screen position of a pixel of the frame, provided that the frame is fitted."""
        box = self.tab.locator("#canvas").bounding_box()
        width, height = self.value("[store.video.width, store.video.height]")
        scale = min((box["width"] - 2 * MARGIN) / width, (box["height"] - 2 * MARGIN) / height)
        left, top = (box["width"] - width * scale) / 2, (box["height"] - height * scale) / 2
        return box["x"] + left + x * scale, box["y"] + top + y * scale

    def drag(self, start, end):
        self.until("shown.index === store.index")  # strokes on a frame that is still loading are refused
        self.tab.mouse.move(*self.at(*start))
        self.tab.mouse.down()
        self.tab.mouse.move(*self.at(*end), steps=6)
        self.tab.mouse.up()

    def paint(self, box, gap=6):
        """Fill a box with the brush, line by line, and wait until the mask is saved."""
        x0, y0, x1, y1 = box
        self.press("b")
        for y in range(y0, y1 + 1, gap):
            self.drag((x0, y), (x1, y))
        self.until("!store.dirty && store.state.references.includes(store.index)")

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def go(self, index):
        self.press("g")
        self.tab.keyboard.type(str(index + 1))
        self.press("Enter")
        self.until(f"shown.index === {index}")

    def put_mask(self, index, path):
        """Send a mask file to the server."""
        content = zlib.compress(np.asarray(Image.open(path)))
        self.tab.context.request.put(f"{self.tab.url}api/mask/{index}", data=content)

    def track(self, key="t"):
        self.press(key)
        self.until("store.running !== null")
        self.until("store.running === null", 180)

    def mask(self):
        """Return the area of each object in the shown frame."""
        return self.value("store.labels.data.reduce((n, v) => (v && (n[v] = (n[v] ?? 0) + 1), n), {})")
