"""Refused requests: without the token, to other host names, from other sites, too large, or invalid."""

import zlib

import pytest
from conftest import ADDRESS, BOUND, FRAMES, TOKEN, packed, square
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from xmem_infer.page.security import Guard

LIVE = ADDRESS.replace("http", "ws") + "/api/live"
PATHS = ("/", "/static/app.js", "/api/state", "/api/frame/0.jpg", "/api/mask/0", "/api/export/1", "/nothing")


@pytest.fixture(scope="module")
def page(serve_module):
    with serve_module() as page:
        yield page


def test_without_the_token_nothing_is_served(page):
    stranger = TestClient(page.client.app, base_url=ADDRESS)
    for query in ({}, {"token": "wrong"}, {"token": TOKEN[:-1]}, {"token": "ü"}):
        for path in PATHS:
            answer = stranger.get(path, params=query)
            assert answer.status_code == 401, path
            assert "token" in answer.text and TOKEN not in answer.text
        assert stranger.put("/api/mask/0", params=query, content=packed(square(0))).status_code == 401
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect(LIVE):
        pass
    stranger.cookies.set(Guard(page.client.app, TOKEN, BOUND).cookie, "wrong")
    assert stranger.get("/api/state").status_code == 401


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(page):
    browser = TestClient(page.client.app, base_url=ADDRESS)
    cookie = browser.get("/", params={"token": TOKEN}).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert browser.get("/api/state").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example", "", "10.0.0.1", "[::"])
def test_other_host_names_are_refused(page, host):
    for path in ("/", "/api/state"):
        assert page.client.get(path, params={"token": TOKEN}, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:80", "[::1]:8765", "LOCALHOST"])
def test_a_forwarded_port_is_served(page, host):
    assert page.client.get("/api/state", params={"token": TOKEN}, headers={"Host": host}).status_code == 200
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = page.client.put("/api/mask/0", params={"token": TOKEN}, headers=headers, content=b"")
    assert answer.status_code == 400  # accepted by the guard; the body is no mask


def test_servers_on_network_addresses_accept_ip_addresses_but_no_names(page):
    inner = page.client.app.app
    for bound in ("0.0.0.0", "::", "10.0.0.1"):
        browser = TestClient(Guard(inner, TOKEN, bound), base_url=ADDRESS)
        hosts = ("10.0.0.1:8765", "localhost", "evil.example")
        answers = [browser.get("/api/state", params={"token": TOKEN}, headers={"Host": host}) for host in hosts]
        assert [answer.status_code for answer in answers] == [200, 200, 421]


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://localhost:8765"])
def test_requests_from_other_sites_are_refused(page, origin):
    headers = {"Origin": origin}
    assert page.client.put("/api/mask/0", headers=headers, content=packed(square(0))).status_code == 403
    with pytest.raises(WebSocketDisconnect), page.client.websocket_connect(LIVE, headers=headers):
        pass
    assert page.state()["frames"] == {}


def test_responses_have_security_headers(page):
    for path in PATHS:
        headers = page.client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_bodies_that_are_too_large_are_refused_early(page):
    assert page.put(0, square(0)).status_code == 200
    read = []

    def endless():
        for _ in range(10_000):
            read.append(1)
            yield bytes(1 << 16)

    for method, path in (("PUT", "/api/mask/0"), ("POST", "/api/suggest/0")):
        assert page.client.request(method, path, content=endless()).status_code == 413
    page.do("undo")


BAD_MASKS = {
    "not compressed": b"GIF89a",
    "nothing": b"",
    "cut off": packed(square(0))[:20],
    "too small": packed(square(0)[:-1]),
    "a bomb": zlib.compress(bytes(10**7)),
}


@pytest.mark.parametrize("content", BAD_MASKS.values(), ids=BAD_MASKS)
def test_invalid_masks_are_refused(page, content):
    answer = page.client.put("/api/mask/0", content=content)
    assert answer.status_code == 400 and answer.json()["detail"]
    assert page.state()["frames"] == {}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../config.py",
        "/static/%2e%2e/%2e%2e/config.py",
        "/static/..%2f..%2fconfig.py",
        "/static//etc/passwd",
        "/api/frame/..%2f0.jpg",
        "/api/mask/-1",
        "/api/mask/00000/../../state",
        "/api/export/..%2f..%2fproject.json",
        f"/api/frame/{FRAMES}.jpg",
        f"/api/mask/{10**30}",
        "/project.json",
    ],
)
def test_no_path_reads_other_files(page, path):
    answer = page.client.get(path)
    assert answer.status_code in (404, 422, 405) or answer.json() == page.state()
    assert "root:" not in answer.text and "dataclass" not in answer.text


BAD_ACTIONS = [
    "{", "[]", "null", "1e999", "[" * 5000, '"' + "x" * 70_000 + '"', '{"do": "close"}', '{"do": "__init__"}',
    r'{"do": "export", "format": "\ud800", "job": 1}',
    '{"do": ["undo"]}', '{"do": "undo", "x": 1}', '{"do": "undo"}', '{"do": "next_to_fix"}',
    '{"do": "add_object", "name": ""}', '{"do": "add_object", "colour": "red"}', '{"do": "goto", "index": 6}',
    '{"do": "change_object", "object_id": 1, "name": 2}', '{"do": "remove_object", "object_id": true}',
    '{"do": "remove_object", "object_id": 7}', '{"do": "propagate", "direction": "up", "first": 0, "last": 5}',
    '{"do": "set_absent", "object_id": 1, "first": 3, "last": 2, "absent": true}',
    '{"do": "propagate", "direction": "both", "first": 0, "last": 5}',
    '{"do": "propagate", "direction": "both", "first": 99999999999999999999, "last": 5}',
]  # fmt: skip


def test_invalid_actions_are_answered_with_an_error(page):
    with page.tab() as tab:
        for text in BAD_ACTIONS:
            tab.socket.send_text(text)
            event = tab.until(lambda event: event["event"] in ("done", "error"))
            assert event["event"] == "error" and "failed" not in event["message"], (text, event)


@pytest.mark.parametrize(
    "body",
    ["", "[]", '{"way": "magic", "object_id": 1}', '{"object_id": 1, "box": [5, 5, 5, 9]}',
     '{"object_id": 1, "clicks": [[1, 2]]}', '{"object_id": 1, "clicks": [[NaN, 2, 1]]}',
     '{"object_id": 1, "clicks": [["a", 2, 1]]}', '{"object_id": 1}', '{"object_id": 1, "box": [200, 200, 300, 300]}'],
)  # fmt: skip
def test_invalid_suggestion_requests_are_refused(page, body):
    answer = page.client.post("/api/suggest/0", content=body)
    assert answer.status_code == 400 and answer.json()["detail"]
