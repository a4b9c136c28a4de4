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
AHEAD = ("sec-purpose", "purpose", "x-moz")  # headers by which browsers say that no person has opened a page yet
HEAD_BYTES = 32_768  # of a request's headers
DRAINED = 4  # a body this many times too large is read and forgotten, so that its sender can read why


@dataclasses.dataclass(frozen=True)
class Address:
    """A method and a path, what answers it, what its body is, and what its query may have and must have."""

    method: str
    path: str
    answer: Callable[[Service, Asked], Awaitable[Reply]]
    body: str | None = None
    query: tuple[str, ...] = ()
    must: tuple[str, ...] = ()


ADDRESSES = (
    Address("GET", "/models", Service.models),
    Address("GET", "/model", Service.model, query=("model",)),
    Address("POST", "/predict", Service.predict, PICTURE, query=("model",)),
    Address("POST", "/explain", Service.explain, PICTURE, query=("model", "class", "variant", "face")),
    Address("GET", "/exemplars", Service.exemplars, query=("model",)),
    Address("GET", "/teach/pictures", Service.collected),
    Address("POST", "/teach/pictures", Service.collect, PICTURE, query=("model",)),
    Address("DELETE", "/teach/pictures/{key}", Service.remove),
    Address("POST", "/teach", Service.teach, JSON, query=("model",)),
    Address("GET", "/teach", Service.progress),
    Address("POST", "/teach/accept", Service.accept, query=("model",), must=("model",)),
    Address("POST", "/teach/discard", Service.discard, query=("model",), must=("model",)),
)


def build(service: Service, visitors: Visitors, host: str, port: int) -> "Gate":
    """Builds the ASGI application.

    Args:
      host, port: where it will be found.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Match, Route

    door = Door(visitors, f"fer_jax_{port}")  # cookies are not kept apart by port
    routes = [Route(path, _file(door, path, *found)) for path, found in FILES.items()]
    routes += [Route(one.path, _endpoint(service, door, one), methods=[one.method]) for one in ADDRESSES]

    async def failed(request, _):
        there = {one for route in routes if route.matches(request.scope)[0] is not Match.NONE for one in route.methods}
        may = ", ".join(sorted(there))
        if not may:
            return _refused(Refusal(404, f"path is {request.url.path[:80]!r}; it may be one of /openapi.json"))
        return _json(405, {"error": f"method is {request.method}; it may be {may}"}, {"allow": may})

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

    def let_in(self, request):
        """Returns the page that a link opens: it sets the cookie and leads on to the page without the token.

        Who only looks at a link, or fetches it before a person opens it, does not use it up.

        Raises:
          Refusal: 403, as `Visitors.check`, or it is fetched ahead.
        """
        from starlette.responses import HTMLResponse

        token = request.query_params["token"]
        # No redirect: it would belong to the site that the link was followed from, and the cookie is not sent then.
        page = HTMLResponse(f'{EMPTY}<meta http-equiv="refresh" content="0;url=/">')
        if any("prefetch" in request.headers.get(name, "").lower() for name in AHEAD):
            raise Refusal(403, "this link works once, so it is not fetched ahead; open it")
        if request.method == "HEAD":
            self.visitors.check(token)
            return page
        key = self.visitors.enter(token, request.cookies.get(self.cookie, ""))
        page.set_cookie(self.cookie, key, path="/", httponly=True, samesite="strict")
        return page


def _file(door: Door, path: str, name: str, media_type: str):
    """Returns the endpoint of one of the page's files."""
    from starlette.responses import HTMLResponse, Response

    content = importlib.resources.files("fer_jax.serve").joinpath(name).read_bytes()

    async def endpoint(request):
        try:
            if path == "/" and "token" in request.query_params:
                return door.let_in(request)
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
            _check_query(request.query_params, address)
            body = b"" if address.body is None else await _body(request, address.body, service.limits)
            reply = await address.answer(service, Asked(visitor, request.query_params, request.path_params, body))
            return _json(reply.status, reply.content)
        except Exception as error:  # each has its answer, so that none ends the server
            return _refused(answered(error))

    return endpoint


def _check_query(given: Mapping[str, str], address: Address) -> None:
    """Checks that a query has what an address must have, and nothing that it does not have.

    Raises:
      Refusal: 400, it has not.
    """
    for name in given:
        if name not in address.query:
            may = f"it may have {', '.join(address.query)}" if address.query else "it has none"
            raise Refusal(400, f"the query has {name[:80]!r}, which {address.path} does not have; {may}")
    for name in address.must:
        if name not in given:
            raise Refusal(
                400, f"the query has no {name}, which {address.path} needs; {name} may be the key of GET /teach"
            )


async def _body(request, kind: str, limits: Limits) -> bytes:
    """Reads the body of a request.

    Args:
      kind: what its media type begins with.

    Raises:
      Refusal: 415, of another type; 413, too large; 408, too slow; 400, its sender went away.
    """
    from starlette.requests import ClientDisconnect

    given = request.headers.get("content-type", "")
    if not given.lower().startswith(kind):
        raise Refusal(
            415, f"Content-Type is {given[:80]!r}; it may be {'image/jpeg or such' if kind == PICTURE else kind}"
        )
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
        raise Refusal(408, f"the body took longer than {limits.upload_seconds:g} s; it may be smaller") from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended before its Content-Length; send all of it") from None
    if size > most:
        raise Refusal(413, f"the body has more than {most:,} bytes, the most that it may have")
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
        most = f"the headers have more than {HEAD_BYTES:,} bytes, the most that they may have"
        refusal = Refusal(431, most) if large else self._refusal(headers)
        app = self._app if refusal is None else _refused(refusal)
        await app(scope, receive, sent)

    def _refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        host = headers.get("host", "")
        if not _is_ours(host, self._host):
            return Refusal(400, f"Host is {host[:80]!r}; it may be an address of numbers, localhost or {self._host}")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and origin != f"http://{host}":
            return Refusal(403, f"Origin is {origin[:80]!r}; it may be 'http://{host}', the server's own page")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return Refusal(403, f"Sec-Fetch-Site is {site[:80]!r}; it may be 'same-origin', of the server's own page")
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
