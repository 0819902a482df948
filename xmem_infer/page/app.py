"""HTTP and WebSocket endpoints: state, frames and masks by index, suggestions, exports; actions and events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
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
from .actions import ACTIONS, SUGGESTION, Action, read_values
from .hub import Hub, Tab
from .label_files import decode_labels, encode_labels, read_png
from .security import Guard
from .session import Session
from .worker import failure_message

STATIC = Path(__file__).parent / "static"
MAX_JSON = 64 << 10  # bytes
LABELS = {"Content-Type": "application/octet-stream", "Content-Encoding": "deflate"}  # of `encode_labels`

Index = Annotated[int, PathValue(ge=0, le=2**31)]
Width = Annotated[int, Query(ge=16, le=16384)]


def make_app(session: Session, hub: Hub, token: str, bound: str) -> ASGIApp:
    """Create the ASGI application of a session. For `token` and `bound` see `Guard`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub.loop = asyncio.get_running_loop()
        yield
        await run_in_threadpool(session.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
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
            key, headers = f"{session.key}-{index}-{w}", {"Content-Type": "image/jpeg"}
            return _cached(request, key, headers, lambda: session.pictures.jpeg(index, w))
        except IndexError:  # the header of the video file announced more frames than can be decoded
            raise HTTPException(404, f"there is no frame {index}") from None

    @app.get("/api/mask/{index}")
    def mask(request: Request, index: Index) -> Response:
        found = session.mask(index)
        if found is None:
            raise HTTPException(404, f"frame {index} has no mask")
        version, png = found
        return _cached(request, f"{index}-{version}", LABELS, lambda: encode_labels(read_png(png)))

    @app.put("/api/mask/{index}")
    async def put_mask(request: Request, index: Index, object: str = "") -> dict[str, Any]:
        size = session.frames.size
        body = await _body(request, 2 * size[0] * size[1] + MAX_JSON)
        painted = [int(text) for text in object.split(",") if text.isascii() and text.isdecimal() and len(text) < 4]

        def paint() -> int:
            return session.paint(index, decode_labels(body, size), painted).version

        return {"version": await run_in_threadpool(paint)}

    @app.post("/api/suggest/{index}")
    async def suggest(request: Request, index: Index) -> Response:
        arguments = read_values(SUGGESTION, await _body(request, MAX_JSON))

        def labels() -> bytes:
            return encode_labels(session.suggest(index, **arguments))

        return Response(await run_in_threadpool(labels), headers=LABELS)

    @app.get("/api/export/{job}")
    def download(job: int) -> FileResponse:
        file = session.exports.files.get(job)
        if file is None or not file.is_file():
            raise HTTPException(404, f"there is no export {job}")
        return FileResponse(file, filename=file.name)

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        tab = Tab()
        hub.tabs.add(tab)
        try:
            await socket.send_text(json.dumps({"event": "state", "state": await run_in_threadpool(session.state)}))
            sending = asyncio.create_task(_send_events(socket, tab))
            try:
                async for text in socket.iter_text():
                    await run_in_threadpool(_act, session, hub, tab, text)
            finally:
                sending.cancel()
        finally:
            hub.tabs.discard(tab)

    return Guard(app, token, bound)


async def _send_events(socket: WebSocket, tab: Tab) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # the tab has been closed meanwhile
        while (text := await tab.get()) is not None:
            await socket.send_text(text)
        await socket.close(1013)  # too slow: the tab reconnects and gets the whole state


def _act(session: Session, hub: Hub, tab: Tab, text: str) -> None:
    """Perform an action sent by a tab and answer it."""
    request_id = None
    try:
        action = read_values(Action, text)
        request_id, name = action.pop("id", None), action.pop("do")
        values = read_values(ACTIONS[name], action)
        answer = {"event": "done", "result": getattr(session, name)(**values)}
        if name == "goto":
            hub.publish({"event": "goto", **values}, exclude=tab)
    except Exception as error:
        answer = {"event": "error", "message": failure_message("the action", error)}
    hub.publish({**answer, "id": request_id}, only=tab)


def _cached(request: Request, key: str, headers: dict[str, str], make: Callable[[], bytes]) -> Response:
    """Return a response that browsers cache and revalidate with `key` as its ETag; `make` is called only if needed."""
    caching = {"ETag": f'"{key}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == caching["ETag"]:
        return Response(status_code=304, headers=caching)
    return Response(make(), headers={**headers, **caching})


async def _body(request: Request, limit: int) -> bytes:
    """Read the body of a request. Raises HTTPException(413) as soon as it exceeds `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body is longer than {limit:,} bytes")
    return bytes(body)


def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        {"detail": failure_message("the request", error)}, 400 if isinstance(error, UsageError) else 500
    )
