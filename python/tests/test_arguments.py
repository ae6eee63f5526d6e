"""`bentoml.use_arguments` in a worker, and strategies of runners as workers describe them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import bentoml
import pytest
import yaml
from bentoml.exceptions import BentoMLException, InvalidArgument
from front import Front
from pydantic import BaseModel

from ekiben.runners.strategy import scheduled_workers
from ekiben.services.arguments import set_arguments

Serve = Callable[..., Front]

GIVEN = """
    arguments = bentoml.use_arguments()
    @bentoml.service
    class Svc:
        @bentoml.api
        def given(self) -> dict:
            return vars(arguments)
"""


class Settings(BaseModel):
    size: int
    name: str = "none"


@pytest.fixture(autouse=True)
def _none() -> Any:
    yield
    set_arguments({})


def test_arguments_are_there_when_the_module_is_imported(serve: Serve) -> None:
    front = serve(GIVEN, arguments=('--arguments={"size": 3, "name": "-x"}',))
    front.ready()
    assert json.loads(front.ask("given", {})[2]) == {"size": 3, "name": "-x"}


def test_a_bento_has_the_arguments_it_was_built_with(serve: Serve, tmp_path: Path) -> None:
    import textwrap

    bento = tmp_path / "bento"
    (bento / "src").mkdir(parents=True)
    (bento / "src" / "service.py").write_text("import bentoml\n" + textwrap.dedent(GIVEN))
    data = {"service": "service:Svc", "name": "svc", "version": "v1", "args": {"size": 3, "name": "built"}}
    (bento / "bento.yaml").write_text(yaml.safe_dump(data))
    front = serve("", arguments=("--bento", str(bento), '--arguments={"name": "given"}'))
    front.ready()
    assert json.loads(front.ask("given", {})[2]) == {"size": 3, "name": "given"}


def test_models_check_arguments() -> None:
    assert vars(bentoml.use_arguments()) == {}
    set_arguments({"size": "3"})
    assert bentoml.use_arguments(Settings) == Settings(size=3)
    set_arguments({"size": "x"})
    with pytest.raises(InvalidArgument, match="Please provide correct arguments via --arg option: 1 validation error"):
        bentoml.use_arguments(Settings)


STRATEGY = """
    from bentoml.io import Text

    class Spread(bentoml.Strategy):
        @classmethod
        def get_worker_count(cls, runnable_class, resource_request, workers_per_resource):
            return len(resource_request or "x") * workers_per_resource
        @classmethod
        def get_worker_env(cls, runnable_class, resource_request, workers_per_resource, worker_index):
            return {"SLICE": worker_index}

    class Echo(bentoml.Runnable):
        SUPPORTED_RESOURCES = ("cpu",)
        SUPPORTS_CPU_MULTI_THREADING = False
        @bentoml.Runnable.method(batchable=False)
        def echo(self, x): return x

    runners = [bentoml.Runner(Echo, name="own", scheduling_strategy=Spread), bentoml.Runner(Echo, name="plain")]
    svc = bentoml.Service("svc", runners=runners)
"""


def test_a_runner_with_a_strategy_says_where_its_workers_are(serve: Serve) -> None:
    sections = {"workers_per_resource": 1, "resources": {"a": 1}, "own": {"resources": {"a": 1, "b": 2}}}
    front = serve(STRATEGY, "service:svc", arguments=(f"--runners={json.dumps(sections)}",))
    own, plain = front.expect("describe").header["service"]["units"]
    assert own["workers"] == [{"SLICE": "0"}, {"SLICE": "1"}]
    assert plain["workers"] is None
    front.expect("ready")


class Echo(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=False)
    def echo(self, x: Any) -> Any:
        return x


class Nowhere(bentoml.Strategy):
    @classmethod
    def get_worker_count(cls, runnable_class: Any, resource_request: Any, workers_per_resource: Any) -> int:
        return 0

    @classmethod
    def get_worker_env(
        cls, runnable_class: Any, resource_request: Any, workers_per_resource: Any, worker_index: int
    ) -> dict[str, Any]:
        return {}


def test_a_strategy_without_workers_is_refused_by_name() -> None:
    runner = bentoml.Runner(Echo, name="echo", scheduling_strategy=Nowhere)
    with pytest.raises(BentoMLException, match="strategy `Nowhere` of runner `echo` must give .* above 0, not 0"):
        scheduled_workers(runner, {})


def test_resources_are_known_by_their_id() -> None:
    class Tpu(bentoml.Resource, resource_id="test.example/tpu"):
        @classmethod
        def from_spec(cls, spec: Any) -> int:
            return int(spec)

        @classmethod
        def from_system(cls) -> int:
            return 2

        @classmethod
        def validate(cls, val: int) -> None:
            assert val <= 2

    assert bentoml.legacy.Resource.registry.pop("test.example/tpu") is Tpu
    assert bentoml.legacy.Strategy is bentoml.Strategy
