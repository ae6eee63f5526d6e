"""Deployments of BentoCloud, and of servers that speak its protocol: where they can be called."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urlencode

from ..exceptions import BentoMLException, CloudRESTApiClientError, NotFound
from ..stores.documents import read_text
from ..stores.home import bentoml_home
from .client import TOKEN_VARIABLE
from .transport.blocking import BlockingPool
from .transport.messages import Request
from .transport.origin import parse_url

ENDPOINT_VARIABLE = "BENTO_CLOUD_API_ENDPOINT"
PUBLIC_ENDPOINT = "https://cloud.bentoml.com"
TOKEN_HEADER = "x-yatai-api-token"  # noqa: S105 (a name)
# Where `ekiben cloud login` and upstream keep who the user is.
FILE_NAME = ".yatai.yaml"
TIMEOUT = 60.0


def deployment_url(name: str, cluster: str | None = None) -> str:
    """Return the URL of a deployment."""
    endpoint, token = _account()
    origin, base = parse_url(endpoint)
    pool = BlockingPool(origin, [(TOKEN_HEADER, token), ("accept-encoding", "identity")], TIMEOUT)
    query = "?" + urlencode({"cluster": cluster}) if cluster else ""
    try:
        response = pool.send(Request("GET", f"{base}/api/v2/deployments/{quote(name, safe='')}{query}"))
    finally:
        pool.close()
    if response.status_code == 404:
        raise NotFound(f"Deployment {name} is not found: {response.text}")
    if response.is_error:
        raise CloudRESTApiClientError(f"cannot find deployment `{name}`: {origin} answered {response.status_code}")
    urls = _urls(response)
    if not urls:
        raise BentoMLException(f"Deployment {name} does not have any URLs")
    return urls[0]


def _urls(response: Any) -> list[str]:
    try:
        return [str(url) for url in response.json().get("urls") or []]
    except (ValueError, AttributeError) as error:
        raise CloudRESTApiClientError("the answer of the cloud is no deployment") from error


def _account() -> tuple[str, str]:
    """Return the cloud's address and the user's token: of the environment, else of the current login."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        return os.environ.get(ENDPOINT_VARIABLE) or PUBLIC_ENDPOINT, token
    import yaml

    file = bentoml_home() / FILE_NAME
    try:
        document = yaml.safe_load(read_text(file))
        current = document["current_context_name"]
        context = next(context for context in document["contexts"] if context["name"] == current)
        return str(context["endpoint"]), str(context["api_token"])
    except FileNotFoundError:
        why = "nobody is logged in"
    except (OSError, ValueError, KeyError, TypeError, StopIteration, yaml.YAMLError):
        why = f"`{file}` has no login of the current context"
    raise CloudRESTApiClientError(
        f"a dependency on a deployment needs its cloud, and {why}: run `ekiben cloud login`, set {TOKEN_VARIABLE}, or "
        "name the service's address with `bentoml.depends(url=...)`"
    )
