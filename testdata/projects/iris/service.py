"""Tells the species of an iris flower from four measurements."""

from __future__ import annotations

import bentoml
import numpy as np
from bentoml.models import BentoModel
from pydantic import BaseModel, Field

SPECIES = ("setosa", "versicolor", "virginica")


class Flower(BaseModel):
    """The measurements of one flower, in centimetres."""

    sepal_length: float = Field(gt=0)
    sepal_width: float = Field(gt=0)
    petal_length: float = Field(gt=0)
    petal_width: float = Field(gt=0)


class Species(BaseModel):
    """The species found, and how sure the model is of it."""

    name: str
    probability: float


@bentoml.service(traffic={"timeout": 30})
class IrisClassifier:
    """Classifies iris flowers."""

    iris_clf = BentoModel("iris_clf:latest")

    def __init__(self) -> None:
        self.classifier = bentoml.sklearn.load_model(self.iris_clf)

    @bentoml.api
    def predict(self, input_data: np.ndarray) -> np.ndarray:
        """Give the class number of each row of four measurements."""
        return self.classifier.predict(input_data)

    @bentoml.api
    def classify(self, flower: Flower) -> Species:
        """Give the species of one flower by name."""
        row = [[flower.sepal_length, flower.sepal_width, flower.petal_length, flower.petal_width]]
        probabilities = self.classifier.predict_proba(row)[0]
        best = int(np.argmax(probabilities))
        return Species(name=SPECIES[best], probability=float(probabilities[best]))
