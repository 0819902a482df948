"""Take the screenshots examples/page/*.jpg on real footage: python tests/page/screenshots.py [FOLDER]."""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from page.browser import FLAGS, ROOT, Editor, Server, chromium

OBJECTS = {1: ("Cup", "#ff4d6d"), 2: ("Hand", "#3d8bff")}
QUALITY = 80  # JPEG quality, without chroma subsampling, which would blur text
TRACKED = 62  # frame of the second screenshot, in which the cup lies on its side


def act(editor, action):
    editor.tab.evaluate("(action) => import('/static/actions.js').then(({ act }) => act(action))", action)


def save(editor, path):
    image = Image.open(io.BytesIO(editor.tab.screenshot())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=QUALITY, subsampling=0, optimize=True)


def main(folder):
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        server = Server(ROOT / "examples" / "cup.mp4", Path(temporary) / "project", 360).start()
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)

        def tab(scheme):
            return Editor(browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=scheme), server.url)

        light = tab("light")
        light.press("a", "s")
        light.until("store.object === 1")
        act(light, {"do": "change_object", "object_id": 1, "name": OBJECTS[1][0]})
        light.drag((224, 88), (316, 294))
        light.until("store.proposal !== null")
        light.tab.mouse.move(*light.at(280, 330))
        light.tab.wait_for_timeout(300)
        save(light, folder / "mark.jpg")
        light.tab.evaluate("import('/static/editor.js').then(({ discard }) => discard())")

        light.put_mask(0, ROOT / "examples" / "cup.png")
        for number, (name, colour) in OBJECTS.items():
            act(light, {"do": "change_object", "object_id": number, "name": name, "colour": colour})
        light.track()
        dark = tab("dark")
        dark.go(TRACKED)
        dark.tab.wait_for_timeout(1000)
        save(dark, folder / "track.jpg")
        browser.close()
        server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "page")
