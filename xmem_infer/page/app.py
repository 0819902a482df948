"""The addresses: state, frames and masks by index, and a WebSocket for actions and events."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi import Path as PathValue
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from ..errors import UsageError, XMemInferError
from .actions import EXPORT, SUGGESTION, read_body
from .hub import Hub, Tab
from .label_files import decode_labels, encode_mask
from .security import Guard
from .session import Session

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MAX_JSON = 64 << 10  # bytes

Index = Annotated[int, PathValue(ge=0, le=2**31)]
Width = Annotated[int, Query(ge=16, le=16384)]


def make_app(session: Session, hub: Hub, token: str, bound: str) -> ASGIApp:
    """The application for one session, guarded by the token; `bound` is the address that it listens at."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub.start(asyncio.get_running_loop())
        yield
        await run_in_threadpool(session.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(UsageError, _refused)
    app.add_exception_handler(XMemInferError, _failed)
    app.add_exception_handler(Exception, _failed)

    @app.get("/")
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False))

    @app.get("/api/state")
    def state() -> JSONResponse:
        return JSONResponse(session.state(), headers={"Cache-Control": "no-store"})

    @app.get("/api/frame/{index}.jpg")
    def frame(request: Request, index: Index, w: Width = 1280) -> Response:
        if index >= session.frame_count:
            raise HTTPException(404, f"there is no frame {index}")
        try:
            key = f"{session.key}-{index}-{w}"
            return _cached(request, key, "image/jpeg", lambda: session.pictures.jpeg(index, w))
        except IndexError:  # the file promised more frames than it has
            raise HTTPException(404, f"there is no frame {index}") from None

    @app.get("/api/mask/{index}.png")
    def mask(request: Request, index: Index) -> Response:
        found = session.mask(index)
        if found is None:
            raise HTTPException(404, f"frame {index} has no mask")
        version, png = found
        return _cached(request, f"{index}-{version}", "image/png", lambda: png)

    @app.put("/api/mask/{index}")
    async def put_mask(request: Request, index: Index, object: str = "") -> dict[str, Any]:
        size = session.frames.size
        body = await _body(request, 2 * size[0] * size[1] + MAX_JSON)
        painted = [int(one) for one in object.split(",") if one.isascii() and one.isdecimal() and len(one) < 4]

        def paint() -> int:
            return session.paint(index, decode_labels(body, size), painted).version

        return {"version": await run_in_threadpool(paint)}

    @app.post("/api/suggest/{index}")
    async def suggest(request: Request, index: Index) -> Response:
        asked = read_body(await _body(request, MAX_JSON), SUGGESTION)

        def png() -> bytes:
            return encode_mask(session.suggest(index, **asked))

        return Response(await run_in_threadpool(png), media_type="image/png")

    @app.post("/api/export")
    async def export(request: Request) -> dict[str, int]:
        asked = read_body(await _body(request, MAX_JSON), EXPORT)
        return {"job": session.exports.start(asked["format"])}

    @app.get("/api/export/{job}")
    def download(job: int) -> FileResponse:
        found = session.exports.files.get(job)
        if found is None or not found.is_file():
            raise HTTPException(404, f"there is no export {job}")
        return FileResponse(found, filename=found.name)

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with hub.joined() as tab:
            await socket.send_text(json.dumps({"event": "state", "state": await run_in_threadpool(session.state)}))
            sending = asyncio.create_task(_send_events(socket, tab))
            try:
                async for text in socket.iter_text():
                    await run_in_threadpool(_act, session, hub, tab, text)
            except WebSocketDisconnect:
                pass
            finally:
                sending.cancel()

    return Guard(app, token, bound)


async def _send_events(socket: WebSocket, tab: Tab) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # it went away meanwhile
        while (text := await tab.next()) is not None:
            await socket.send_text(text)
        await socket.close(1013)  # too slow: it connects again and gets the whole state


def _act(session: Session, hub: Hub, tab: Tab, text: str) -> None:
    asked: dict[str, Any] = {}
    try:
        action = json.loads(text) if len(text) <= MAX_JSON else None
        asked = {"id": action["id"]} if isinstance(action, dict) and "id" in action else {}
        result = session.act(action)
        if isinstance(action, dict) and action.get("do") == "goto":
            hub.publish({"event": "goto", "index": action["index"]}, but=tab)
        tab.publish({"event": "done", **asked, **({} if result is None else {"result": result})})
    except (ValueError, RecursionError, XMemInferError) as error:
        tab.publish({"event": "error", **asked, "message": str(error)})
    except Exception as error:
        log.exception("an action failed")
        tab.publish({"event": "error", **asked, "message": f"this program failed: {error!r}"})


def _cached(request: Request, key: str, kind: str, make: Any) -> Response:
    """An answer that a browser keeps, and asks for again by its key."""
    headers = {"ETag": f'"{key}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=kind, headers=headers)


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises 413 as soon as it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body is longer than {limit:,} bytes")
    return bytes(body)


def _refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


def _failed(request: Request, error: Exception) -> JSONResponse:
    known = isinstance(error, XMemInferError)
    return JSONResponse({"detail": str(error) if known else f"this program failed: {error!r}"}, 500)
