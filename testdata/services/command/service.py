"""Services whose clients are answered by a program of their own, besides an API and the usual pages."""

import os
import sys
from pathlib import Path

import bentoml

SERVER = os.fspath(Path(__file__).with_name("server.py"))
PORT = int(os.environ["COMMAND_PORT"])


@bentoml.service(
    workers=2, http={"proxy_port": PORT}, traffic={"timeout": 10}, path_prefix=os.environ.get("PREFIX")
)
class Own:
    def __init__(self):
        self.word = "from the instance"

    def __command__(self) -> list[str]:
        return [sys.executable, SERVER, "${COMMAND_PORT}", self.word]

    @bentoml.api
    def hello(self) -> str:
        return "hello"


@bentoml.service(cmd=[sys.executable, SERVER, "${COMMAND_PORT}"], http={"proxy_port": PORT})
class Plain:
    pass


@bentoml.service(cmd=["no-such-program"], http={"proxy_port": PORT})
class Missing:
    pass
