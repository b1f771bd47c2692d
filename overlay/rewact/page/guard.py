# SPDX-License-Identifier: MIT
"""Who may talk to the labelling page.

Other web sites that the same browser shows must not: not by a name that they make point to this machine (DNS
rebinding), not by posting to it, not by embedding its videos.
"""

import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD")
METHODS = (*SAFE_METHODS, "POST", "PUT")
MAX_BODY = 1 << 20
# Bytes of an address; more digits than these Python does not read as a number.
MAX_ADDRESS = 2000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware that answers what it refuses with one sentence.

    Args:
        app: What it guards.
        host: Address that the server listens on.
        token: What a browser has to know, None if it needs nothing.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self.app = app
        self.host = host
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._refuse(scope) or self._admit(scope) or self.app
            await answer(scope, receive, _with_headers(send))

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _error(403, f"this page does not answer to the name {host!r}")
        if headers.get("sec-fetch-site") not in (None, "same-origin", "none") and scope["path"] != "/":
            return _error(403, "requests of other web sites are refused")
        if len(scope["path"]) + len(scope["query_string"]) > MAX_ADDRESS:
            return _error(414, f"addresses of more than {MAX_ADDRESS} bytes are refused")
        if scope["method"] not in METHODS:
            return _error(405, f"nothing here is asked by {scope['method']}")
        if scope["method"] in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _error(403, f"requests of {origin} are refused")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error(415, "send JSON, with Content-Type: application/json")
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return _error(411, "send the length of the content")
        if len(length) > 12 or int(length) > MAX_BODY:
            return _error(413, f"more than {MAX_BODY} bytes are refused")
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server. A number cannot be made to point elsewhere, a name can."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in LOOPBACK:
            return True
        if self.host in LOOPBACK:
            return False
        return _is_address(name) or name in (self.host, socket.gethostname(), f"{socket.gethostname()}.local")

    def _admit(self, scope: Scope) -> Response | None:
        """Check the token, which the page keeps in a cookie so that it leaves the address bar."""
        if self.token is None:
            return None
        asked = HTTPConnection(scope)
        given, name = asked.query_params.get("token", ""), f"rewact_page_{scope['server'][1]}"
        if scope["path"] == "/" and secrets.compare_digest(given.encode(), self.token.encode()):
            response = RedirectResponse("/", status_code=303)
            response.set_cookie(name, self.token, httponly=True, samesite="lax")
            return response
        if secrets.compare_digest(asked.cookies.get(name, "").encode(), self.token.encode()):
            return None
        return _error(403, "open the address with ?token=... that lerobot-label-page printed")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return wrapped
