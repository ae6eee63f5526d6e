"""``load_runner``: what the framework modules had before 1.0, as a runner of today."""

from __future__ import annotations

from typing import Any

from ..models.info import ModelSignature
from ..models.model import Model
from ..runners.runner import Runner
from ..unsupported import NotSupportedYet

# The keywords by which the modules have called the method that `run` stands for.
METHOD_KEYWORDS = ("function_name", "infer_api_callback", "predict_fn_name")


def load_runner(model: Model, method: str | None, name: str | None, keywords: dict[str, Any]) -> Runner:
    """Return the runner of a model: of one method if one is chosen, else of all that the model has.

    Keywords become options of the model; ``partial_kwargs`` are those of the method that ``run`` calls.
    """
    given = {key: value for key, value in keywords.items() if value is not None}
    for keyword in METHOD_KEYWORDS:
        method = given.pop(keyword, method)
    signatures = model.info.signatures
    if method is not None:
        model = model.with_signatures({method: signatures.get(method, ModelSignature())})
    if "partial_kwargs" in given:
        called = method or next(iter(signatures), "__call__")
        given["partial_kwargs"] = {called: given["partial_kwargs"]}
    for key in given:
        if key not in vars(model.info.options):
            raise NotSupportedYet(
                f"{model.info.module}.load_runner({key}=...)", f"model `{model.tag}` has no such option"
            )
    return (model.with_options(**given) if given else model).to_runner(name=name or "")
