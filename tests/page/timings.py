"""Measure the waiting times of a user with a real server and browser: python tests/page/timings.py [VIDEO MASK]."""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from page.browser import FLAGS, ROOT, Editor, Server, chromium

# Sets window.waited to the milliseconds from the next key press to the drawing of the first propagated mask.
WATCH = """Promise.all([import('/static/store.js'), import('/static/editor.js')]).then(([{ store }, { shown }]) => {
  window.waited = new Promise((done) => {
    addEventListener("keydown", () => {
      const [pressed, from] = [performance.now(), store.index];
      const drawn = async () => {
        const { shown: now } = await import('/static/editor.js');
        if (now.index === from || store.frames?.[now.index]) return;
        store.removeEventListener("drawn", drawn);
        done(performance.now() - pressed);
      };
      store.addEventListener("drawn", drawn);
    }, { once: true });
  });
})"""


def first_mask_ms(editor, index):
    editor.go(index)
    editor.tab.evaluate(WATCH)
    editor.press("t")
    waited = editor.tab.evaluate("window.waited")
    editor.press("t")
    editor.until("store.running === null")
    editor.press("Control+z")
    editor.tab.wait_for_timeout(2000)
    return waited


def main(video, mask):
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        started = time.monotonic()
        server = Server(video, Path(temporary) / "project", 480).start()
        editor = Editor(browser.new_context(viewport={"width": 1280, "height": 720}), server.url)
        print(f"command to first frame in a browser that is open: {time.monotonic() - started:.2f} s")
        editor.until("!store.state.loading")
        print(f"command to network ready: {time.monotonic() - started:.2f} s")
        frames = editor.value("store.video.frames")
        for references in (1, 2, 5, 10):
            for number in range(references):
                index = number * (frames - 1) // max(1, references - 1) // 2
                editor.put_mask(index, mask)
            editor.tab.wait_for_timeout(3000 * references)
            waits = [first_mask_ms(editor, 0) for _ in range(3)]
            seconds = ", ".join(f"{ms / 1000:.2f}" for ms in waits)
            print(f"key press to first propagated mask, {references} references: {seconds} s", flush=True)
            print(f"median: {statistics.median(waits) / 1000:.2f} s", flush=True)
        browser.close()
        server.kill()


if __name__ == "__main__":
    video, mask = sys.argv[1:] or (ROOT / "examples" / "cup.mp4", ROOT / "examples" / "cup.png")
    main(Path(video), Path(mask))
