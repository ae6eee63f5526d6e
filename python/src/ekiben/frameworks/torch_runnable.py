"""The runnable class of everything that is a module of PyTorch once loaded."""

from __future__ import annotations

from typing import Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from .framework import Framework
from .runnables import GPU_OR_CPU, is_array, is_frame, partial_kwargs, runnable_class


def torch_runnable(framework: Framework, model: Model, load_model: Callable[..., Any]) -> type[Runnable]:
    """Return the class; ``load_model`` takes the model and ``device_id``."""
    torch = framework.require("torch")

    def load(self: Any) -> None:
        self.device_id = use_best_device(torch)
        self.model = load_model(model, device_id=self.device_id)
        # Dropout and batch normalisation are for training.
        self.model.train(False)

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(model, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            with without_gradients(torch):
                arguments = [to_tensor(torch, value, self.device_id) for value in args]
                keywords = {key: to_tensor(torch, value, self.device_id) for key, value in kwargs.items()}
                return getattr(self.model, name)(*arguments, **{**added, **keywords})

        return run

    return runnable_class("PyTorchRunnable", model, load, method, resources=GPU_OR_CPU)


def use_best_device(torch: Any) -> str:
    """Return ``cuda`` where there is a GPU, on which new tensors are then made too, else ``cpu``."""
    if not torch.cuda.is_available():
        return "cpu"
    if hasattr(torch, "set_default_device"):  # since 2.0
        torch.set_default_device("cuda")
    else:
        torch.set_default_tensor_type("torch.cuda.FloatTensor")
    return "cuda"


def without_gradients(torch: Any) -> Any:
    """Return the context for inference; releases before 1.9 have the weaker one only."""
    return torch.inference_mode() if hasattr(torch, "inference_mode") else torch.no_grad()


def to_tensor(torch: Any, value: Any, device: str) -> Any:
    """Return arrays and frames as tensors of floats, and tensors on the device; anything else as it is."""
    if is_frame(value):
        value = value.to_numpy()
    if is_array(value):
        return torch.tensor(value, dtype=torch.get_default_dtype(), device=device)
    return value.to(device) if isinstance(value, torch.Tensor) else value
