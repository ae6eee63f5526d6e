"""The one table of public names: which ``bentoml.X`` is which object of the SDK, loaded when first asked for.

To add a name: one line here. To add a framework module: its file in ``frameworks`` and its name in ``FRAMEWORKS``.
Names that upstream has and the SDK has not stand in ``UNSUPPORTED``, so that user code learns why it fails.
"""

from __future__ import annotations

from importlib import import_module

from .frameworks import FRAMEWORKS

# Not `typing.TYPE_CHECKING`: importing `typing` takes longer than all the rest of `import bentoml`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# name -> "module:attribute"
ATTRIBUTES = {
    "AsyncHTTPClient": "ekiben.clients.asynchronous:AsyncHTTPClient",
    "Bento": "ekiben.bentos.bento:Bento",
    "BentoModel": "ekiben.models.references:BentoModel",
    "Context": "ekiben.context:Context",
    "Cookie": "ekiben.context:Cookie",
    "Dependency": "ekiben.services.dependency:Dependency",
    "Field": "pydantic:Field",
    "HTTPServer": "ekiben.servers.legacy:HTTPServer",
    "HuggingFaceModel": "ekiben.models.references:HuggingFaceModel",
    "IODescriptor": "ekiben.io.descriptor:IODescriptor",
    "Model": "ekiben.models.model:Model",
    "Resource": "ekiben.runners.strategy:Resource",
    "Runnable": "ekiben.runners.runnable:Runnable",
    "Runner": "ekiben.runners.runner:Runner",
    "Service": "ekiben.services.service:Service",
    "Strategy": "ekiben.runners.strategy:Strategy",
    "SyncHTTPClient": "ekiben.clients.blocking:SyncHTTPClient",
    "Tag": "ekiben.tag:Tag",
    "api": "ekiben.apis.decorator:api",
    "asgi_app": "ekiben.services.mounts:asgi_app",
    "build": "ekiben.bentos:build",
    "delete": "ekiben.bentos:delete",
    "depends": "ekiben.services.dependency:depends",
    "export_bento": "ekiben.bentos:export_bento",
    "get": "ekiben.bentos:get",
    "get_current_service": "ekiben.services.current:get_current_service",
    "import_bento": "ekiben.bentos:import_bento",
    "importing": "ekiben.services.importing:importing",
    "list": "ekiben.bentos:list",
    "load": "ekiben.services.loading:load",
    "monitor": "ekiben.monitoring.records:monitor",
    "mount_asgi_app": "ekiben.services.mounts:asgi_app",
    "on_deployment": "ekiben.services.hooks:on_deployment",
    "on_shutdown": "ekiben.services.hooks:on_shutdown",
    "on_startup": "ekiben.services.hooks:on_startup",
    "pull": "ekiben.bentos:pull",
    "push": "ekiben.bentos:push",
    "runner_service": "ekiben.services.runners:runner_service",
    "serve": "ekiben.servers.serving:serve",
    "server_context": "ekiben.context:server_context",
    "service": "ekiben.services.decorator:service",
    "task": "ekiben.apis.decorator:task",
    "use_arguments": "ekiben.services.arguments:use_arguments",
}

# name below `bentoml` -> module
MODULES = {
    "bentos": "ekiben.bentos",
    "client": "ekiben.clients.legacy",
    "exceptions": "ekiben.exceptions",
    "images": "ekiben.services.images",
    "io": "ekiben.io",
    "legacy": "ekiben.legacy",
    "metrics": "prometheus_client",
    "models": "ekiben.models",
    "monitoring": "ekiben.monitoring",
    "safetensors": "ekiben.safetensors",
    "server": "ekiben.servers.legacy",
    "types": "ekiben.types",
    "validators": "ekiben.io.validators",
    **{name: f"ekiben.frameworks.{name}" for name in FRAMEWORKS},
}

# What upstream 1.4 has under `bentoml` and the SDK has not yet.
UNSUPPORTED = frozenset(
    """
    ApiToken ApiTokenAPI BentoCloudClient GrpcServer api_token batch cloud container deployment diffusers_simple gradio
    grpc load_config ray save_config serving set_serialization_strategy start triton unsloth
    """.split()
)


def load(name: str) -> Any:
    """Return the object that ``bentoml.<name>`` stands for."""
    if name in ATTRIBUTES:
        module, _, attribute = ATTRIBUTES[name].partition(":")
        return getattr(import_module(module), attribute)
    if name in MODULES:
        return import_module(MODULES[name])
    if name in UNSUPPORTED:
        from .unsupported import UnsupportedAttribute

        raise UnsupportedAttribute(f"bentoml.{name}")
    raise AttributeError(f"module bentoml has no attribute {name}")


def find_submodule(name: str) -> str | None:
    """Return the module that ``import bentoml.<name>`` gives, or None for a name upstream has not either."""
    first, _, rest = name.partition(".")
    if first in MODULES:
        return MODULES[first] + (f".{rest}" if rest else "")
    refuse_unsupported(name)
    return None


def refuse_unsupported(name: str) -> None:
    """Raise an explanation when ``bentoml.<name>`` is a name of upstream that the SDK has not."""
    if name.partition(".")[0] in UNSUPPORTED:
        from .unsupported import UnsupportedImport

        raise UnsupportedImport(f"bentoml.{name}")
    return
