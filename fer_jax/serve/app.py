"""The web application: routes to `Service`, what a request must show before it is read, and the page's files.

Starlette is imported when an application is built, since only the extra `serve` installs it.
"""

import asyncio
import dataclasses
import importlib.resources
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fer_jax.serve.limits import Limits, Refusal
from fer_jax.serve.service import Asked, Reply, Service, answered
from fer_jax.serve.visitors import Visitor, Visitors

PICTURE, JSON = "image/", "application/json"
FILES = {
    "/": ("static/index.html", "text/html"),
    "/app.css": ("static/app.css", "text/css"),
    "/app.js": ("static/app.js", "text/javascript"),
    "/openapi.json": ("openapi.json", JSON),
}
# Nothing but the page's own files runs or is fetched, no other page may frame it, and nothing of it is stored.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
EMPTY = '<!doctype html><html lang="en"><title>fer_jax</title><link rel="icon" href="data:,">'
HEAD_BYTES = 32_768  # of a request's headers
DRAINED = 4  # a body this many times too large is read and forgotten, so that its sender can read why


@dataclasses.dataclass(frozen=True)
class Address:
    """A method and a path, what answers it, and what its body is, if it has one."""

    method: str
    path: str
    answer: Callable[[Service, Asked], Awaitable[Reply]]
    body: str | None = None


ADDRESSES = (
    Address("GET", "/models", Service.models),
    Address("GET", "/model", Service.model),
    Address("POST", "/predict", Service.predict, PICTURE),
    Address("POST", "/explain", Service.explain, PICTURE),
    Address("GET", "/exemplars", Service.exemplars),
    Address("GET", "/teach/pictures", Service.collected),
    Address("POST", "/teach/pictures", Service.collect, PICTURE),
    Address("DELETE", "/teach/pictures/{key}", Service.remove),
    Address("POST", "/teach", Service.teach, JSON),
    Address("GET", "/teach", Service.progress),
    Address("POST", "/teach/accept", Service.accept),
    Address("POST", "/teach/discard", Service.discard),
)


def build(service: Service, visitors: Visitors, host: str, port: int) -> "Gate":
    """Builds the ASGI application.

    Args:
      host, port: where it will be found.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    door = Door(visitors, f"fer_jax_{port}")  # cookies are not kept apart by port
    routes = [Route(path, _file(door, path, *found)) for path, found in FILES.items()]
    routes += [Route(one.path, _endpoint(service, door, one), methods=[one.method]) for one in ADDRESSES]

    async def failed(request, error):
        return _json(error.status_code, {"error": error.detail}, error.headers)

    app = Starlette(routes=routes, exception_handlers={HTTPException: failed})
    app.router.redirect_slashes = False
    return Gate(app, host)


@dataclasses.dataclass(frozen=True)
class Door:
    """Where browsers are recognised: by a cookie that no script reads and no other site sends."""

    visitors: Visitors
    cookie: str

    def visitor(self, request) -> Visitor:
        """Returns the browser that sent a request; as `Visitors.of`."""
        return self.visitors.of(request.cookies.get(self.cookie, ""))

    def let_in(self, token: str):
        """Returns the page that a link opens: it sets the cookie and leads on to the page without the token."""
        from starlette.responses import HTMLResponse

        # No redirect: it would belong to the site that the link was followed from, and the cookie is not sent then.
        page = HTMLResponse(f'{EMPTY}<meta http-equiv="refresh" content="0;url=/">')
        page.set_cookie(self.cookie, self.visitors.enter(token), path="/", httponly=True, samesite="strict")
        return page


def _file(door: Door, path: str, name: str, media_type: str):
    """Returns the endpoint of one of the page's files."""
    from starlette.responses import HTMLResponse, Response

    content = importlib.resources.files("fer_jax.serve").joinpath(name).read_bytes()

    async def endpoint(request):
        try:
            if path == "/" and "token" in request.query_params:
                return door.let_in(request.query_params["token"])
            door.visitor(request)
        except Refusal as refusal:
            if path == "/":
                return HTMLResponse(f"{EMPTY}<p>{refusal.message}</p>", refusal.status)
            return _refused(refusal)
        return Response(content, media_type=media_type)

    return endpoint


def _endpoint(service: Service, door: Door, address: Address):
    """Returns the endpoint of an address of the API."""

    async def endpoint(request):
        try:
            visitor = door.visitor(request)
            body = b"" if address.body is None else await _body(request, address.body, service.limits)
            reply = await address.answer(service, Asked(visitor, request.query_params, request.path_params, body))
            return _json(reply.status, reply.content)
        except Exception as error:  # each has its answer, so that none ends the server
            return _refused(answered(error))

    return endpoint


async def _body(request, kind: str, limits: Limits) -> bytes:
    """Reads the body of a request.

    Args:
      kind: what its media type begins with.

    Raises:
      Refusal: 415, of another type; 413, too large; 408, too slow; 400, its sender went away.
    """
    from starlette.requests import ClientDisconnect

    if not request.headers.get("content-type", "").lower().startswith(kind):
        raise Refusal(415, f"the body's Content-Type begins with {kind}")
    most = limits.json_bytes if kind == JSON else limits.picture_bytes
    read, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= most:
                    read.extend(chunk)
                else:
                    read.clear()
                if size > DRAINED * most:
                    break
    except TimeoutError:
        raise Refusal(408, f"the body took longer than {limits.upload_seconds:.0f} s") from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended early") from None
    if size > most:
        raise Refusal(413, f"the body is larger than {most:,} bytes")
    return bytes(read)


def _json(status: int, content: Any, headers: Mapping[str, str] | None = None):
    from starlette.responses import JSONResponse

    return JSONResponse(content, status, headers)


def _refused(refusal: Refusal):
    headers = None if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    return _json(refusal.status, {"error": refusal.message}, headers)


class Gate:
    """Refuses requests that came by another name or from another site, and adds HEADERS to every answer.

    A name of another site that leads to this machine (DNS rebinding) is no number and is not `host`.
    """

    def __init__(self, app, host: str):
        self._app, self._host = app, host

    async def __call__(self, scope, receive, send) -> None:
        """Answers a request, or sends it on."""
        if scope["type"] != "http":
            return

        async def sent(message):
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        large = sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES
        refusal = Refusal(431, "the request's headers are too large") if large else self._refusal(headers)
        app = self._app if refusal is None else _refused(refusal)
        await app(scope, receive, sent)

    def _refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        host = headers.get("host", "")
        if not _is_ours(host, self._host):
            return Refusal(400, f"the server is not called {host[:100]!r}")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and origin != f"http://{host}":
            return Refusal(403, "the request comes from another site")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return Refusal(403, "the request comes from another site")
        return None


def _is_ours(host: str, own: str) -> bool:
    """Returns True if a Host header is an address of numbers, localhost or the server's own name, whatever the port.

    >>> [_is_ours(host, "box.lan") for host in ("127.0.0.1:80", "[::1]:80", "localhost", "box.lan:80", "evil.example")]
    [True, True, True, True, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if host != host.strip() or "@" in host or "/" in host:
            return False
    except ValueError:
        return False
    if name in ("localhost", own.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
