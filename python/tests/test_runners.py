"""Runners in their own process: what is called, what is refused. ``interop/test_runners.py`` compares with upstream."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException, NotFound, StateException

from ekiben.runners.handle import RunnerHandle
from ekiben.unsupported import NotSupportedYet

SAMPLE = [[5.9, 3.0, 5.1, 1.8]]
REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


class Words(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self, prefix: str = ""):
        self.prefix = prefix

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def lengths(self, words: list[str], extra: Any = None) -> list[int]:
        """Count the letters."""
        return [len(self.prefix + word) for word in words]

    @bentoml.Runnable.method
    def where(self) -> tuple[str, str]:
        return threading.current_thread().name, REQUEST.get()

    @bentoml.Runnable.method()
    async def slow(self, word: str) -> str:
        await asyncio.sleep(0)
        return word.upper()

    @bentoml.Runnable.method
    def letters(self, word: str) -> Iterator[str]:
        yield from word

    @bentoml.Runnable.method
    async def async_letters(self, word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter


@pytest.fixture
def words() -> Iterator[bentoml.Runner]:
    runner = bentoml.Runner(Words, name="words", runnable_init_params={"prefix": "ab"})
    runner.init_local(quiet=True)
    yield runner
    runner.destroy()


@pytest.fixture
def iris() -> bentoml.Model:
    features, labels = importlib.import_module("sklearn.datasets").load_iris(return_X_y=True)
    classifier = importlib.import_module("sklearn.linear_model").LogisticRegression(max_iter=500).fit(features, labels)
    signatures = {"predict": {"batchable": True, "batch_dim": 0}, "predict_proba": {}}
    return bentoml.sklearn.save_model("iris_clf", classifier, signatures=signatures)


def test_the_answer_is_that_of_the_loaded_model(iris: bentoml.Model) -> None:
    """Scenario 12."""
    runner = bentoml.sklearn.get("iris_clf:latest").to_runner()
    assert (runner.name, runner.models) == ("iris_clf", [bentoml.models.get(iris.tag)])
    runner.init_local(quiet=True)
    loaded = bentoml.sklearn.load_model("iris_clf")
    assert runner.predict.run(SAMPLE).tolist() == loaded.predict(SAMPLE).tolist() == [2]
    assert asyncio.run(runner.predict_proba.async_run(SAMPLE)).tolist() == loaded.predict_proba(SAMPLE).tolist()
    assert not hasattr(runner, "run")
    assert iris.to_runnable() is iris.to_runnable()
    assert iris.to_runnable().SUPPORTED_RESOURCES == ("cpu",)


def test_the_names_of_signatures() -> None:
    """Scenario 13: a method named in a signature, and ``__call__``, which needs no name."""
    bentoml.picklable_model.save_model("classify", Sorter(), signatures={"classify": {}, "__call__": {}})
    runner = bentoml.picklable_model.get("classify").to_runner(name="sorter")
    runner.init_local(quiet=True)
    assert runner.classify.run(3) == "odd"
    assert runner.run(3) == "called with 3"
    assert asyncio.run(runner.async_run(4)) == "called with 4"
    assert (runner.name, runner.runnable_class.SUPPORTS_CPU_MULTI_THREADING) == ("sorter", False)


class Sorter:
    def classify(self, number: int, even: str = "even") -> str:
        return "odd" if number % 2 else even

    def __call__(self, number: int) -> str:
        return f"called with {number}"


def test_partial_keywords_and_what_counts_before_them() -> None:
    model = bentoml.picklable_model.save_model("classify", Sorter(), signatures={"classify": {}})
    runner = model.with_options(partial_kwargs={"classify": {"even": "partial"}}).to_runner()
    runner.init_local(quiet=True)
    assert (runner.run(2), runner.run(2, even="given"), runner.run(1)) == ("partial", "given", "odd")


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [({}, [2]), ({"name": "other"}, [2]), ({"function_name": "predict_proba"}, None), ({"method": "score"}, None)],
)
def test_the_older_name(iris: bentoml.Model, keywords: dict[str, str], expected: list[int] | None) -> None:
    """Scenario 17."""
    runner = bentoml.sklearn.load_runner("iris_clf", **keywords)
    assert runner.name == keywords.get("name", "iris_clf")
    runner.init_local(quiet=True)
    if expected is not None:
        assert runner.predict.run(SAMPLE).tolist() == expected
    elif "function_name" in keywords:
        assert runner.run(SAMPLE).shape == (1, 3)
        assert [method.name for method in runner.runner_methods] == ["predict_proba"]
    else:
        assert runner.run(SAMPLE, [2]) == 1.0


def test_the_older_name_with_options() -> None:
    bentoml.picklable_model.save_model("classify", Sorter(), signatures={"classify": {"batchable": True}})
    runner = bentoml.picklable_model.load_runner("classify", "classify", partial_kwargs={"even": "partial"})
    runner.init_local(quiet=True)
    assert runner.run(2) == "partial"
    assert runner.classify.config.batchable is True
    with pytest.raises(
        NotSupportedYet, match=r"^`bentoml.picklable_model.load_runner\(device_id=...\)` is not supported"
    ):
        bentoml.picklable_model.load_runner("classify", device_id="cpu")
    with pytest.raises(NotFound):
        bentoml.sklearn.load_runner("classify")


def test_calls_without_initialisation() -> None:
    runner = bentoml.Runner(Words, name="words")
    message = (
        "^Runner is not initialized. Make sure to include 'Runner\\(name='words', runnable_class=Words\\)' to your "
        "service definition.$"
    )
    with pytest.raises(StateException, match=message):
        runner.lengths.run(["a"])
    with pytest.raises(StateException, match=message):
        asyncio.run(runner.lengths.async_run(["a"]))
    with pytest.raises(StateException, match=message):
        runner.letters.async_stream("abc")
    assert asyncio.run(runner.runner_handle_is_ready()) is True


def test_initialised_once_until_destroyed(caplog: pytest.LogCaptureFixture) -> None:
    runner = bentoml.Runner(Words, name="words")
    runner.init_local()
    assert "'Runner.init_local' is for debugging and testing only" in caplog.text
    with pytest.raises(StateException, match="^Runner already initialized$"):
        runner.init_local(quiet=True)
    instance = weakref.ref(runner.handle._runnable)
    runner.destroy()
    gc.collect()
    assert instance() is None
    with pytest.raises(StateException, match="^Runner is not initialized"):
        runner.lengths.run(["a"])
    runner.init_local(quiet=True)
    assert runner.lengths.run(["a"]) == [1]


def test_a_runnable_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    runner = bentoml.Runner(Words, name="words", runnable_init_params={"unknown": 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'"):
        runner.init_local(quiet=True)
    assert "An exception occurred while instantiating runner 'words'" in caplog.text
    with pytest.raises(StateException, match="^Runner is not initialized"):
        runner.lengths.run(["a"])


def test_batchable_arguments_agree(words: bentoml.Runner) -> None:
    assert words.lengths.run(["a", "bc"]) == [3, 4]
    assert words.lengths.run(["a"], extra="one item") == [3]
    with pytest.raises(ValueError, match="^All batchable arguments must have the same batch size.$"):
        words.lengths.run(["a", "b"], extra=np.ones(3))


def test_asynchronous_calls(words: bentoml.Runner) -> None:
    async def call() -> list[Any]:
        REQUEST.set("mine")
        return await asyncio.gather(
            words.where.async_run(),
            words.lengths.async_run(["a"]),
            words.slow.async_run("word"),
            words.where.async_run(),
        )

    first, lengths, slow, second = asyncio.run(call())
    assert (lengths, slow) == ([3], "WORD")
    assert first == second
    assert first[0].startswith("runner-words")
    assert first[1] == "mine"
    assert words.where.run() == (threading.current_thread().name, "none")
    assert words.slow.run("word") == "WORD"


def test_streams(words: bentoml.Runner) -> None:
    async def collect(method: Any) -> list[str]:
        return [letter async for letter in method.async_stream("abc")]

    assert asyncio.run(collect(words.letters)) == ["a", "b", "c"]
    assert asyncio.run(collect(words.async_letters)) == ["a", "b", "c"]
    assert {method.name: method.config.is_stream for method in words.runner_methods} == {
        "lengths": False,
        "where": False,
        "slow": False,
        "letters": True,
        "async_letters": True,
    }


def test_the_limits_of_batches(caplog: pytest.LogCaptureFixture) -> None:
    runner = bentoml.Runner(
        Words, name="words", max_batch_size=10, method_configs={"lengths": {"max_batch_size": 1, "max_latency_ms": 5}}
    )
    limits = {method.name: (method.max_batch_size, method.max_latency_ms) for method in runner.runner_methods}
    assert limits["lengths"] == (1, 5)
    assert limits["where"] == (10, 60_000)
    assert bentoml.Runner(Words, name="words").lengths.max_batch_size == 100
    assert runner.lengths.doc == "Count the letters."
    bentoml.Runner(Words, name="words", method_configs={"unknown": {}})
    assert "runner `words` has no method `unknown`: its configuration is ignored" in caplog.text


@pytest.mark.parametrize("name", ["with space", "-x", "a" * 64, ""])
def test_names_that_are_no_tags(name: str) -> None:
    with pytest.raises(ValueError, match=f"^Runner name '{name}' is not valid; it must be a valid BentoML Tag name.$"):
        bentoml.Runner(Words, name=name)


def test_names_are_lowered(caplog: pytest.LogCaptureFixture) -> None:
    assert bentoml.Runner(Words, name="Words-2").name == "words-2"
    assert bentoml.Runner(Words).name == "words"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "Converting runner name 'Words-2' to lowercase: 'words-2'",
        "Using lowercased runnable class name 'words' for runner.",
    ]


def test_what_is_no_runner(words: bentoml.Runner) -> None:
    with pytest.raises(ValueError, match="^Runnable class 'Runnable' has no methods!$"):
        bentoml.Runner(bentoml.Runnable, name="x")
    with pytest.raises(TypeError, match="^'models' must be a list of models: 'iris' is none$"):
        bentoml.Runner(Words, name="x", models=["iris"])
    with pytest.raises(TypeError, match="^'models' must be a list of models, not 'iris'$"):
        bentoml.Runner(Words, name="x", models="iris")
    with pytest.raises(AttributeError, match="^can't set attribute$"):
        words.name = "other"

    class Taken(bentoml.Runnable):
        @bentoml.Runnable.method
        def destroy(self) -> None: ...

    with pytest.raises(ValueError, match="^method `destroy` of runnable class `Taken` has the name of an attribute"):
        bentoml.Runner(Taken, name="x")


def test_a_method_named_run() -> None:
    class Session(bentoml.Runnable):
        @bentoml.Runnable.method
        def run(self, value: int) -> int:
            return value + 1

    runner = bentoml.Runner(Session, name="x")
    runner.init_local(quiet=True)
    assert runner.run(1) == runner.run.run(1) == asyncio.run(runner.async_run(1)) == 2


def test_runnables_do_not_change() -> None:
    with pytest.raises(
        BentoMLException, match="^SUPPORTED_RESOURCES should not be set at runtime; the change will not"
    ):
        Words().SUPPORTED_RESOURCES = ("nvidia.com/gpu",)
    with pytest.raises(
        BentoMLException, match="^add_method should not be used at runtime; instead, use Words.add_method"
    ):
        Words().add_method(print, name="print")
    assert Words().lengths(["a"]) == [1]


def test_a_subclass_has_methods_of_its_own() -> None:
    class More(Words):
        @bentoml.Runnable.method(batchable=True, batch_dim=(1, 0))
        def more(self, values: Any) -> Any:
            return values

    More.add_method(lambda self, value: value * 2, name="twice", batchable=True, batch_dim=1, input_spec="given")
    assert set(More.bentoml_runnable_methods__) - set(Words.bentoml_runnable_methods__) == {"more", "twice"}
    assert More.more.config.batch_dim == (1, 0)
    assert (More.twice.config.batch_dim, More.twice.config.input_spec) == ((1, 1), "given")
    runner = bentoml.Runner(More, name="more")
    runner.init_local(quiet=True)
    assert (runner.twice.run(2), runner.lengths.run(["a"])) == (4, [1])


class Recorder(RunnerHandle):
    """What a server brings: it gets every call with the runner's method."""

    def __init__(self, runner: bentoml.Runner, place: str, port: int = 0):
        self.calls: list[Any] = [(runner.name, place, port)]

    async def is_ready(self, timeout: int) -> bool:
        return timeout > 5

    def run_method(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((method.name, method.max_batch_size, args, kwargs))
        return "run"

    async def async_run_method(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.run_method(method, *args, **kwargs)

    def async_stream_method(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.run_method(method, *args, **kwargs)


def test_a_server_takes_the_calls_with_a_handle_of_its_own() -> None:
    runner = bentoml.Runner(Words, name="words")
    with pytest.raises(NotSupportedYet, match="^`Runner.init_client` is not supported yet by ekiben: runner `words`"):
        runner.init_client()
    runner.init_client(Recorder, "socket", port=7)
    handle = runner.handle
    assert runner.lengths.run(["a"], method="keyword") == "run"
    assert asyncio.run(runner.lengths.async_run(["b"])) == "run"
    assert handle.calls == [
        ("words", "socket", 7),
        ("lengths", 100, (["a"],), {"method": "keyword"}),
        ("lengths", 100, (["b"],), {}),
    ]
    assert asyncio.run(runner.runner_handle_is_ready(6)) is True
    assert asyncio.run(runner.runner_handle_is_ready(5)) is False
    with pytest.raises(StateException, match="^Runner already initialized$"):
        runner.init_local(quiet=True)


def test_the_names_under_legacy() -> None:
    assert bentoml.legacy.Runner is bentoml.Runner
    assert bentoml.legacy.Runnable is bentoml.Runnable
