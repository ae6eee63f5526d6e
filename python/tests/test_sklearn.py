"""``bentoml.sklearn``."""

from __future__ import annotations

import importlib

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, NotFound

datasets = importlib.import_module("sklearn.datasets")
linear_model = importlib.import_module("sklearn.linear_model")


@pytest.fixture
def classifier() -> object:
    return linear_model.LogisticRegression(max_iter=500).fit(*datasets.load_iris(return_X_y=True))


def test_save_and_load(classifier: object) -> None:
    import sklearn

    saved = bentoml.sklearn.save_model("iris", classifier, metadata={"acc": 0.9})
    info = bentoml.models.get("iris").info
    assert (info.module, info.api_version, info.context.framework_name) == ("bentoml.sklearn", "v1", "sklearn")
    assert info.context.framework_versions == {"scikit-learn": sklearn.__version__}
    assert {name: signature.to_dict() for name, signature in info.signatures.items()} == {
        "predict": {"batchable": False}
    }
    features = datasets.load_iris().data
    expected = classifier.predict(features).tolist()
    assert bentoml.sklearn.load_model("iris:latest").predict(features).tolist() == expected
    assert bentoml.sklearn.load_model(saved).predict(features).tolist() == expected
    model = bentoml.sklearn.get("iris")
    assert model.load_model() is model.load_model()


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="is not a sklearn.base.BaseEstimator"):
        bentoml.sklearn.save_model("x", object())


def test_a_model_of_another_module_is_refused() -> None:
    with bentoml.models.create("plain:1", module="bentoml.pytorch") as model:
        pass
    with pytest.raises(
        NotFound, match="^Model plain:1 was saved with module bentoml.pytorch, not loading with bentoml.sklearn"
    ):
        bentoml.sklearn.load_model("plain:1")
    with pytest.raises(NotFound, match="^Model plain:1 was saved with module bentoml.pytorch, not loading with"):
        bentoml.sklearn.get("plain:1")
    assert model.framework_module().__name__ == "ekiben.frameworks.pytorch"


def test_a_model_without_module_says_so() -> None:
    with bentoml.models.create("plain:1") as model:
        pass
    with pytest.raises(BentoMLException, match="Module is not defined in model.yaml of `plain:1`"):
        model.load_model()
