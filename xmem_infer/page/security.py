"""Access control: requests need the token, a host name of this machine, and no other site as their origin."""

import hashlib
import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
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
NOT_STORED = {"Cache-Control": "no-store"}
WRONG_NAME = "This server is not called by that name: use localhost, or its address in numbers."
WRONG_SITE = "Another site's page may not use this server."
NO_TOKEN = "This page needs the whole address that the command printed, with its token."


class Guard:
    """ASGI middleware that checks token, `Host` and `Origin` of each request, and adds security headers to responses.

    The first request has the token in its URL and sets a cookie for all further ones. The name of the cookie depends on
    the token, because servers on other ports of the same host share their cookies with this one.

    Args:
        token: The secret.
        bound: Address that the server listens on. Other host names than it and `localhost` are rejected, to prevent
            DNS rebinding: another site's name that is made to resolve to this machine. Ports may differ, because they
            may be forwarded.
    """

    def __init__(self, app: ASGIApp, token: str, bound: str) -> None:
        self.app, self.token, self.bound = app, token, bound
        self.cookie = f"xmem_infer_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        request, answer = HTTPConnection(scope), self.app
        is_in_url = self._is_token(request.query_params.get("token", ""))
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        # Browsers send `Origin` with WebSockets and with requests that change something; other clients may omit it.
        if not self._is_host(host):
            answer = PlainTextResponse(WRONG_NAME, 421, NOT_STORED)
        elif origin is not None and urlsplit(origin).netloc != host:
            answer = PlainTextResponse(WRONG_SITE, 403, NOT_STORED)
        elif not is_in_url and not self._is_token(request.cookies.get(self.cookie, "")):
            answer = PlainTextResponse(NO_TOKEN, 401, NOT_STORED)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if is_in_url and answer is self.app:
                    headers.append("Set-Cookie", f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        await answer(scope, receive, with_headers)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    def _is_host(self, header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname or ""
            if name in ("localhost", self.bound.strip("[]")):
                return True
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_local(self.bound)


def is_local(bound: str) -> bool:
    """Return whether a server that listens on this address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(bound.strip("[]")).is_loopback
    except ValueError:
        return bound == "localhost"
