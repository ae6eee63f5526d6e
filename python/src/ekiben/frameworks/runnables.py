"""What the framework modules make runnable classes of: a method for each signature of a model."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable

from ..exceptions import InvalidArgument
from ..models.model import Model
from ..runners.runnable import Runnable

GPU_OR_CPU = ("nvidia.com/gpu", "cpu")
CPU = ("cpu",)


def runnable_class(
    name: str,
    model: Model,
    load: Callable[[Any], None],
    method: Callable[[str], Callable[..., Any]],
    *,
    resources: tuple[str, ...] = CPU,
    multi_threading: bool = True,
) -> type[Runnable]:
    """Return a class whose instances are prepared by ``load`` and have what ``method`` makes of each signature."""
    contents = {
        "__doc__": f"Runs model `{model.tag}`.",
        "__init__": load,
        "SUPPORTED_RESOURCES": resources,
        "SUPPORTS_CPU_MULTI_THREADING": multi_threading,
    }
    made: type[Runnable] = type(name, (Runnable,), contents)
    for method_name, signature in model.info.signatures.items():
        made.add_method(
            method(method_name),
            name=method_name,
            batchable=signature.batchable,
            batch_dim=signature.batch_dim,
            input_spec=signature.input_spec,
            output_spec=signature.output_spec,
        )
    return made


def check_methods(model: Model, loaded: Any, kind: str) -> None:
    """Refuse, when the model is loaded and not at the first call, signatures of methods that it has not."""
    for name in model.info.signatures:
        if not hasattr(loaded, name):
            raise InvalidArgument(f"No method with name {name} found for {kind} of type {type(loaded)}")


def partial_kwargs(model: Model, method: str) -> dict[str, Any]:
    """Return the keywords that the model's options add to the calls of a method; the caller's own count first."""
    return dict((getattr(model.info.options, "partial_kwargs", None) or {}).get(method) or {})


def sees_gpu() -> bool:
    """Tell whether this process was given a GPU by the variable that gives them."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "") not in ("", "-1")


def thread_count(variable: str, default: int) -> int:
    """Return how many threads a variable allows, at least one; the default where it says nothing."""
    given = os.environ.get(variable, "")
    return max(int(given), 1) if given else default


def is_array(value: Any) -> bool:
    """Tell whether a value is an array of NumPy."""
    return _is(value, "numpy", "ndarray")


def is_frame(value: Any) -> bool:
    """Tell whether a value is a data frame of pandas."""
    return _is(value, "pandas", "DataFrame")


def _is(value: Any, library: str, class_name: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, class_name, ()))
