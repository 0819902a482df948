"""Responses of the server: state, frames, masks, and masks propagated from painted ones."""

import io

import numpy as np
from conftest import FRAMES, HEIGHT, WIDTH, square
from PIL import Image


def test_state_and_frames_of_a_new_project(serve):
    with serve() as page:
        state = page.state()
        assert state["video"] == {"name": "clip", "width": WIDTH, "height": HEIGHT, "frames": FRAMES, "fps": 24}
        assert state["objects"] == state["references"] == [] and state["frames"] == {}
        for path, width in (("frame/5.jpg", WIDTH), ("frame/2.jpg?w=48", 48), ("frame/0.jpg?w=160", WIDTH)):
            answer = page.client.get(f"/api/{path}")
            assert Image.open(io.BytesIO(answer.content)).size[0] == width
            again = page.client.get(f"/api/{path}", headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304 and not again.content
        assert page.client.get(f"/api/frame/{FRAMES}.jpg").status_code == 404
        assert page.client.get("/api/mask/0").status_code == 404


def test_a_painted_mask_is_propagated_and_undone(serve):
    with serve() as page, page.tab() as tab:
        assert page.put(0, square(0, 3)).json()["version"] == page.state()["frames"]["0"]["version"]
        assert page.state()["references"] == [0]
        masks = tab.propagated()
        assert {event["index"] for event in masks} >= set(range(1, FRAMES))
        state = page.state()
        assert list(state["frames"]) == [str(index) for index in range(FRAMES)]
        assert (page.mask(0) == square(0, 3)).all()
        for index in range(1, FRAMES):
            assert state["frames"][str(index)]["confidence"].keys() == {"3"}
            assert set(np.unique(page.mask(index))) <= {0, 3}
        tab.do("undo")
        assert list(page.state()["frames"]) == ["0"]
        tab.do("undo")
        assert page.state()["frames"] == {} and page.state()["objects"] == []
        tab.do("redo")
        tab.do("redo")
        assert page.state()["frames"] == state["frames"]
