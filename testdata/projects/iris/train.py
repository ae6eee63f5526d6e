"""Trains a classifier on the iris data set and saves it into the model store."""

import bentoml
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Train, save, and print the tag of the saved model."""
    iris = load_iris()
    classifier = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    saved = bentoml.sklearn.save_model(
        "iris_clf",
        classifier,
        labels={"owner": "examples", "stage": "demo"},
        metadata={"accuracy": float(classifier.score(iris.data, iris.target))},
    )
    print(saved.tag)


if __name__ == "__main__":
    main()
