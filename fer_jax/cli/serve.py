"""`fer-jax serve`: a page on this machine, to ask a trained model and to teach it."""

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys

from fer_jax.cli import flags
from fer_jax.errors import UserError, import_extra

LOCAL = "127.0.0.1"


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    serve = commands.add_parser(
        "serve",
        help="open a page on this machine: photos, camera, explanations, teaching",
        description="Starts a page in a browser of this machine, and its API: pictures or the camera's are answered as "
        "`predict` does, maps drawn as `explain` does, classes taught as `teach` does. Prints a link that lets one "
        "browser in, once. Nothing is stored until a taught model is accepted; nothing leaves the machine.",
        allow_abbrev=False,
    )
    flags.add_model(serve, remote=False)
    serve.add_argument("--host", default=LOCAL, metavar="NAME", help=f"address to listen at (default {LOCAL})")
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000; 0 takes any that is free")
    serve.add_argument("--cropped", action="store_true", help="pictures are faces already; none is searched for")
    serve.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the server until it is interrupted.

    Raises:
      UserError: flags that cannot be, a package that is not installed, a port that is in use, or a model as
        `trained.restore` says.
    """
    places = flags.places(rest, "serve")
    if not 0 <= known.port < 65536:
        raise UserError(f"--port is {known.port}; it may be a number from 0 to 65535")
    uvicorn = import_extra("uvicorn", "serve", "serve needs uvicorn")
    import_extra("starlette", "serve", "serve needs starlette")
    listening = _listen(known.host, known.port)
    from fer_jax.inference import predict as predicting
    from fer_jax.runs.progress import log, start_logging
    from fer_jax.serve import app, connections
    from fer_jax.serve.limits import Limits
    from fer_jax.serve.service import Service
    from fer_jax.serve.shelf import Shelf
    from fer_jax.serve.visitors import Visitors

    start_logging()
    first = predicting.build(flags.restored(known, places), known.cropped, known.margin)
    models = Shelf(first)
    models.prepare()
    port, limits = listening.getsockname()[1], Limits()
    host = f"[{known.host}]" if ":" in known.host else known.host
    visitors = Visitors(limits, _Links(f"http://{host}:{port}"))
    service = Service(models, limits)
    config = uvicorn.Config(
        app.build(service, visitors, known.host, port), http=connections.protocol(limits), log_config=None,
        access_log=False, proxy_headers=False, server_header=False, lifespan="off", ws="none",
        limit_concurrency=limits.connections, timeout_graceful_shutdown=5,
    )  # fmt: skip
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it would warn about every malformed request
    if known.host not in (LOCAL, "localhost", "::1"):
        log.warning("others on the network can reach this page, and read what is sent to it: nothing is encrypted")
    try:
        visitors.invite()
        service.prepare()
        asyncio.run(uvicorn.Server(config).serve([listening]))
    finally:
        service.close()


class _Links:
    """Prints each new link. When nobody can read them any more it says so once, and whoever is in goes on.

    Args:
      address: of the page.
    """

    def __init__(self, address: str):
        self._address, self._shown, self._lost = address, False, False

    def __call__(self, token: str) -> None:
        """Prints the link of a token.

        Raises:
          UserError: it is the first one and cannot be printed, so that nobody could ever come in.
        """
        if self._lost:
            return
        try:
            if sys.stdout is None:  # Python was started with it closed
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            print(f"open {self._address}/?token={token}", flush=True)
            self._shown = True
        except (OSError, ValueError) as error:
            self._lost, why = True, getattr(error, "strerror", None) or str(error)
            with contextlib.suppress(OSError, ValueError, AttributeError):  # what is left in it is written at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not self._shown:
                raise UserError(f"standard output cannot be written to ({why}), where the link is shown; it may be a "
                                "terminal, a file or a pipe that is read") from None  # fmt: skip
            from fer_jax.runs.progress import log

            log.error(
                "no further link can be shown, since standard output cannot be written to (%s); who is in goes on", why
            )


def _listen(host: str, port: int) -> socket.socket:
    """Opens the socket before a model is read, so that a mistake is told at once.

    Raises:
      UserError: the address cannot be listened at.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:  # the latter of a name such as a..b
        why = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise UserError(f"--host {host} --port {port} cannot be listened at ({why}); it may be others, "
                        "and --port 0 is any that is free") from None  # fmt: skip
