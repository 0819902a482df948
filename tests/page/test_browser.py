"""End-to-end tests of the page: real browser, real server, embedded model, from painting to export."""

import shutil
import zipfile

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
for package in ("fastapi", "uvicorn", "websockets"):
    pytest.importorskip(package, reason="the page's packages are not installed")

from page.browser import FLAGS, ROOT, Editor, Server, chromium  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no chromium on this machine (apt-get install chromium)"),
]

FRAMES = 12
CAR, BALL = (14, 156, 118, 200), (382, 138, 412, 168)  # boxes inside the objects of the first frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "scene"
    folder.mkdir()
    for path in sorted((ROOT / "examples" / "clip" / "JPEGImages" / "scene").iterdir())[:FRAMES]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def server(clip, tmp_path_factory):
    server = Server(clip, tmp_path_factory.mktemp("page") / "project").start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    yield context
    context.close()


@pytest.fixture
def editor(context, server):
    editor = Editor(context, server.url)
    yield editor
    assert editor.errors == []


def read_mask(editor, index):
    width, height = editor.value("[store.video.width, store.video.height]")
    content = editor.tab.request.get(f"{editor.tab.url}api/mask/{index}").body()
    return np.frombuffer(content, np.uint8).reshape(height, width)


def test_paint_track_correct_undo_and_reload(editor, server):
    editor.paint(CAR)
    assert editor.value("store.objects.length") == 1, "the first stroke makes the first object"
    assert "token" not in editor.tab.url, "the token does not stay in the address"
    editor.press("a")
    editor.until("store.object === 2")
    editor.paint(BALL)
    assert set(editor.mask()) == {"1", "2"}
    editor.track()
    assert editor.value("Object.keys(store.state.frames).length") == FRAMES
    assert editor.value("store.index") == 0, "after tracking, the frame where it was started is shown"

    middle = FRAMES // 2
    editor.go(middle)
    tracked = read_mask(editor, middle)
    before = read_mask(editor, 1)
    editor.press("e")
    editor.drag((CAR[0], 170), (60, 170))
    editor.until("!store.dirty && store.state.references.length === 2")
    corrected = read_mask(editor, middle)
    assert (corrected == 1).sum() < (tracked == 1).sum(), "the eraser removed pixels"
    editor.track("Shift+T")
    assert np.array_equal(read_mask(editor, middle), corrected), "tracking does not change references"
    assert np.array_equal(read_mask(editor, 1), before), "tracking forwards does not change earlier frames"

    editor.press("Control+z")  # tracking
    editor.press("Control+z")  # correction
    editor.until("store.state.references.length === 1")
    assert np.array_equal(read_mask(editor, middle), tracked)
    editor.press("Control+Shift+Z")
    editor.until("store.state.references.length === 2")
    assert np.array_equal(read_mask(editor, middle), corrected)

    editor.open(server.url)
    editor.go(middle)
    assert editor.mask()["1"] == (corrected == 1).sum(), "a reload shows the saved mask"


def test_a_suggestion_is_shown_then_accepted(editor):
    editor.press("a")
    editor.until("store.objects.length === store.object")
    areas = editor.mask()
    editor.press("s")
    editor.drag((180, 20), (300, 120))
    editor.until("store.proposal !== null")
    assert editor.mask() == areas, "a suggestion is not stored before it is accepted"
    editor.tab.get_by_role("button", name="Accept").click()
    editor.until("!store.dirty && store.proposal === null")
    editor.drag((180, 20), (300, 120))
    editor.until("store.proposal !== null")
    editor.press("Escape")
    editor.until("store.proposal === null")


def test_every_key_does_something(editor):
    tab = editor.tab
    for key, tool in {"s": "smart", "b": "brush", "e": "eraser", "f": "fill"}.items():
        editor.press(key)
        assert tab.locator(f".tool[data-tool={tool}]").get_attribute("aria-pressed") == "true"
    size = editor.value("store.brush")
    editor.press("]")
    assert editor.value("store.brush") > size
    editor.press("[")
    editor.press("End")
    editor.until(f"store.index === {FRAMES - 1}")
    editor.press("Home", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    editor.until("store.index === 10")
    editor.press("v")
    assert editor.value("store.masksShown") is False
    editor.press("v", "o", "Shift+O")
    assert abs(editor.value("store.opacity") - 0.5) < 1e-6
    theme = tab.locator("html").get_attribute("data-theme")
    editor.press("l")
    assert tab.locator("html").get_attribute("data-theme") != theme
    editor.press("+")
    assert tab.locator("#zoom-level").inner_text() != (editor.press("0") or tab.locator("#zoom-level").inner_text())
    editor.press("Home", " ")
    editor.until("store.playing && store.index > 0")
    editor.press(" ")
    editor.until("!store.playing")
    editor.press("d", "ArrowRight", "d")
    editor.until("Object.keys(store.state.absent).length === 1")
    editor.press("Control+z")
    editor.until("Object.keys(store.state.absent).length === 0")
    editor.press("n")
    sync_api.expect(tab.locator(".toast").last).to_be_visible()
    editor.press("?")
    listed = tab.locator("#help kbd").all_inner_texts()
    assert {"S", "B", "T", "N", "Ctrl Z", "Space", "1 – 9", "?"} <= set(listed)
    editor.press("Escape")
    assert not tab.locator("#help").is_visible()


def test_all_controls_have_a_label_and_a_visible_focus(editor):
    nameless = editor.tab.evaluate(
        "[...document.querySelectorAll('button, input, canvas[tabindex], [role=slider]')].filter((one) => "
        "!one.ariaLabel && !one.textContent.trim() && !one.labels?.length).map((one) => one.outerHTML)"
    )
    assert nameless == []
    editor.press("Tab")
    assert editor.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


SCREENS = [(1280, 720, "dark"), (1024, 768, "light"), (820, 1180, "dark")]


@pytest.mark.parametrize(("width", "height", "scheme"), SCREENS)
def test_the_page_fits_the_screen(browser, server, width, height, scheme):
    touch = height != 720
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch)
    editor = Editor(context, server.url)
    assert editor.tab.locator("html").get_attribute("data-theme") == scheme
    outside, small, lane = editor.tab.evaluate(
        """() => {
            const all = [...document.querySelectorAll('button:not(.lane-name), input[type=range]')];
            const seen = all.filter((one) => one.checkVisibility()).map((one) => [one, one.getBoundingClientRect()]);
            const out = ([, box]) => box.left < 0 || box.right > innerWidth || box.bottom > innerHeight;
            const names = (some) => some.map(([one]) => one.id || one.ariaLabel || one.textContent);
            const lanes = [...document.querySelectorAll('.lane-name, #lanes')].map((one) => one.clientHeight);
            return [names(seen.filter(out)), names(seen.filter(([, box]) => box.height < 40)), Math.min(...lanes)];
        }"""
    )
    assert (outside, small) == ([], []) and lane >= (36 if touch else 24)
    assert editor.tab.evaluate("document.documentElement.scrollWidth") == width
    if touch:
        editor.press("End")
        editor.until(f"shown.index === {FRAMES - 1}")
        editor.tab.locator(".tool[data-tool=brush]").tap()
        editor.tab.touchscreen.tap(*editor.at(200, 60))
        editor.until("!store.dirty && store.object && store.labels.data[60 * store.video.width + 200] === store.object")
        areas = editor.mask()
        pinch(editor, editor.at(100, 120), editor.at(200, 120))
        assert editor.mask() == areas, "two fingers do not paint"
    context.close()


def pinch(editor, left, right):
    """Put down two fingers one after the other and move them apart by 40 px each."""
    zoom = editor.tab.locator("#zoom-level").inner_text()
    session = editor.tab.context.new_cdp_session(editor.tab)

    def touch(kind, *points):
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", left)
    touch("touchStart", left, right)
    for moved in range(0, 41, 8):
        touch("touchMove", (left[0] - moved, left[1]), (right[0] + moved, right[1]))
    touch("touchEnd")
    sync_api.expect(editor.tab.locator("#zoom-level")).not_to_have_text(zoom)


def test_a_second_tab_follows(context, editor, server):
    other = Editor(context, server.url)
    editor.press("Home", "ArrowRight", "ArrowRight")
    other.until("store.index === 2")
    known = other.value("store.objects.length")
    editor.press("a")
    other.until(f"store.objects.length === {known + 1}")
    editor.paint((200, 30, 240, 30))
    other.until("store.state.references.includes(2)")
    other.until("store.labels.data[30 * store.video.width + 220] > 0")
    editor.press("Control+z")
    other.until("!store.state.references.includes(2)")
    assert other.errors == []


def test_an_export_is_downloaded(editor):
    editor.paint((200, 90, 240, 90))
    count = editor.value("Object.keys(store.state.frames).length")
    editor.press("x")
    editor.tab.locator("#formats input[value=palette]").check()
    with editor.tab.expect_download() as download:
        editor.tab.locator("#export-start").click()
    path = download.value.path()
    with zipfile.ZipFile(path) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == count


def test_a_wrong_token_is_reported(browser, server):
    context = browser.new_context()
    tab = context.new_page()
    for address in (server.url.split("?")[0], server.url[:-3] + "xyz"):
        assert tab.goto(address).status == 401
        assert "token" in tab.inner_text("body")
    context.close()


def test_the_page_reconnects_to_a_restarted_server(editor, server):
    editor.go(FRAMES - 1)
    server.kill()
    editor.until("store.link === 'lost'")
    assert editor.tab.locator("#link").is_visible()
    editor.press("b")
    editor.drag((300, 20), (330, 20))
    editor.until("store.dirty")
    server.start()
    editor.until("store.link === 'open' && !store.dirty")
    editor.open(server.url)
    editor.go(FRAMES - 1)
    editor.until("store.labels.data[20 * store.video.width + 315] > 0")
