"""Who may ask: the browser that was given the token, by the name of this machine, from this page."""

import hashlib
import ipaddress
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
WRONG_NAME = "This server is not called by that name: use localhost, or its address in numbers."
REFUSED = "This page needs the whole address that the command printed, with its token."


class Guard:
    """Wraps the application: token, `Host` and `Origin` are checked before it sees a request, headers added after.

    The token comes in the address once, then in a cookie whose name is the token's own: servers on other ports of the
    machine share its cookies.

    Args:
        token: The secret.
        bound: The address that the server listens at. Any name but `localhost` is refused, or another site's name that
            is made to point here (DNS rebinding) would reach the page; ports may differ, since they are forwarded.
    """

    def __init__(self, app: ASGIApp, token: str, bound: str) -> None:
        self.app, self.token, self.bound = app, token, bound
        self.cookie = f"xmem_infer_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        by_address = self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])
        if not self._is_host(headers.get("host", "")):
            return await _refuse(scope, receive, send, 421, WRONG_NAME)
        if not _same_origin(headers):
            return await _refuse(scope, receive, send, 403, "Another site's page may not use this server.")
        if not by_address and not self._is_token(_cookies(headers).get(self.cookie, "")):
            return await _refuse(scope, receive, send, 401, REFUSED)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_encoded(HEADERS)]
                if by_address:
                    value = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                    message["headers"] += _encoded({"Set-Cookie": value})
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    def _is_host(self, header: str) -> bool:
        name = _host_name(header)
        if name in ("localhost", self.bound.strip("[]")):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not _is_loopback(self.bound)


def is_local(bound: str) -> bool:
    """Whether a server that listens at this address is reached from this machine alone."""
    return bound == "localhost" or _is_loopback(bound)


def _is_loopback(bound: str) -> bool:
    try:
        return ipaddress.ip_address(bound.strip("[]")).is_loopback
    except ValueError:
        return bound == "localhost"


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: dict[str, str]) -> bool:
    """Browsers send `Origin` with WebSockets and whatever changes something; programs may leave it out."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _cookies(headers: dict[str, str]) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    is_api = scope["path"].startswith("/api")
    body = json.dumps({"detail": words}) if is_api else words + "\n"
    kind = "application/json" if is_api else "text/plain; charset=utf-8"
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store", **HEADERS}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body.encode()})
