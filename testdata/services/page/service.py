"""What the docs page has to show: values, arrays, pictures, streams, long routes and long texts."""

from collections.abc import Generator

import bentoml
import numpy as np
import PIL.Image
from pydantic import BaseModel, Field


class Flower(BaseModel):
    """The measurements of one flower, in centimetres."""

    petal_length: float = Field(gt=0, examples=[1.4])
    petal_width: float = Field(gt=0, examples=[0.2])


@bentoml.service(name="flowers")
class Flowers:
    """Knows flowers by their petals.

    It is not very clever: <b>setosa</b> has small ones.
    """

    @bentoml.api
    def classify(self, flower: Flower) -> dict[str, str]:
        """Tell the species of one flower.

        The first line stands beside the route.
        """
        return {"species": "setosa" if flower.petal_length < 2 else "virginica"}

    @bentoml.api
    def double(self, a: np.ndarray) -> np.ndarray:
        """Double every number."""
        return a * 2

    @bentoml.api(
        route="/v1/a/rather/long/route/that/does/not/fit/into/windows/as/narrow/as/those/of/telephones"
    )
    def count(self, n: int = 3) -> Generator[str, None, None]:
        """Count."""
        for number in range(n):
            yield f"{number};"

    @bentoml.api
    def red(self, width: int = 40) -> PIL.Image.Image:
        """Paint a picture red."""
        return PIL.Image.new("RGB", (width, 30), "red")

    @bentoml.api
    def size(self, picture: PIL.Image.Image) -> list[int]:
        """Tell how large a picture is."""
        return list(picture.size)
