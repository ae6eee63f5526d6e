"""``bentoml.serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import BadInput
from ..unsupported import NotSupportedYet
from .command import command
from .server import Server

if TYPE_CHECKING:
    from .command import Servable


def serve(
    bento: Servable,
    server_type: str = "http",
    reload: bool = False,
    production: bool = True,
    env: str | None = None,
    host: str | None = None,
    port: int | None = None,
    working_dir: str = ".",
    api_workers: int | None = None,
    backlog: int | None = None,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int | None = None,
    ssl_cert_reqs: int | None = None,
    ssl_ca_certs: str | None = None,
    ssl_ciphers: str | None = None,
    blocking: bool = False,
    args: dict[str, Any] | None = None,
    **grpc: Any,
) -> Server:
    """Serve a service, a bento or its tag, a directory or an import string, and return the running server.

    The service is imported when this returns; ``server.client`` waits until it is ready. ``port=0`` takes a free one.
    ``args`` are what ``bentoml.use_arguments`` gives. With ``blocking`` this returns when the server has ended.

    Example::

        with bentoml.serve("service:Summarizer", port=0) as server:
            print(server.client.summarize(text="..."))
    """
    if server_type == "grpc":
        raise NotSupportedYet("bentoml.serve(server_type='grpc')")
    if server_type != "http":
        raise BadInput(f"Unknown server type: '{server_type}'")
    if grpc:
        raise TypeError(f"serve() has no option `{next(iter(grpc))}` for HTTP")
    if env is not None:
        raise NotSupportedYet("bentoml.serve(env=...)", "run this in the environment instead")
    options = {
        "host": host,
        "port": port,
        "reload": reload,
        "development": not production,
        "api_workers": api_workers,
        "backlog": backlog,
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile": ssl_keyfile,
        "ssl_keyfile_password": ssl_keyfile_password,
        "ssl_version": ssl_version,
        "ssl_cert_reqs": ssl_cert_reqs,
        "ssl_ca_certs": ssl_ca_certs,
        "ssl_ciphers": ssl_ciphers,
    }
    # In development a debugger wants the terminal.
    server = Server(command(bento, working_dir, options), arguments=args, own_terminal=production)
    if blocking:
        server.wait()
    return server
