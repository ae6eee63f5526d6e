"""A service for tests of the front with the real SDK."""

import os
import signal
from collections.abc import Generator

import bentoml
import numpy as np
from pydantic import BaseModel


class Point(BaseModel):
    """A parameter of more than one value."""

    x: float
    y: float = 0.0


@bentoml.service(traffic={"timeout": 30})
class Demo:
    """Shows what a worker can be asked."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.closed = False

    @bentoml.on_shutdown
    def close(self) -> None:
        with open("closed", "w") as file:
            file.write("yes")

    def __is_ready__(self) -> bool:
        return not os.path.exists("busy")

    @bentoml.api
    def greet(self, name: str) -> str:
        return f"Hello {name}"

    @bentoml.api(route="/v1/norm")
    def norm(self, point: Point) -> float:
        return (point.x**2 + point.y**2) ** 0.5

    @bentoml.api
    def double(self, a: np.ndarray) -> np.ndarray:
        return a * self.factor

    @bentoml.api
    def fail(self) -> str:
        raise ValueError("a detail for the log")

    @bentoml.api
    def die(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    @bentoml.api
    def count(self, n: int, stop: int) -> Generator[str, None, None]:
        for number in range(n):
            if number == stop:
                raise ValueError("stopped")
            yield f"{number}\n"
