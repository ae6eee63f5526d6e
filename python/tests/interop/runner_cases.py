"""Runs the same runners with whichever ``bentoml`` this Python has, and prints what came of each.

python runner_cases.py HOME
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import re
import sys
import warnings
from typing import Any, Callable

SAMPLE = [[5.9, 3.0, 5.1, 1.8], [5.1, 3.5, 1.4, 0.2]]


class Calculator:
    """A model that is nothing but a Python object."""

    def __call__(self, value: Any, factor: int = 2) -> Any:
        return value * factor

    def add(self, value: Any, other: Any = 1) -> Any:
        return value + other


def runnable(bentoml: Any) -> type:
    base = bentoml.Runnable

    class Words(base):
        SUPPORTED_RESOURCES = ("cpu", "nvidia.com/gpu")
        SUPPORTS_CPU_MULTI_THREADING = False

        def __init__(self, prefix: str = ""):
            self.prefix = prefix

        @base.method(batchable=True, batch_dim=(0, 0))
        def lengths(self, words: Any, extra: Any = None) -> Any:
            return [len(self.prefix + str(word)) for word in words]

        @base.method(batchable=True, batch_dim=1)
        def columns(self, values: Any, other: Any = None) -> Any:
            return values.sum(axis=0)

        @base.method
        def fail(self) -> Any:
            raise KeyError("missing")

        @base.method()
        def letters(self, word: str) -> Any:
            yield from word

        @base.method()
        async def upper(self, word: str) -> Any:
            return word.upper()

        @base.method()
        async def later(self, word: str) -> Any:
            for letter in word:
                yield letter

    return Words


def cases(bentoml: Any) -> dict[str, Callable[[], Any]]:
    """Return what is done, by name."""
    numpy, classes = importlib.import_module("numpy"), runnable(bentoml)
    save_models(bentoml)

    def local(**keywords: Any) -> Any:
        runner = bentoml.Runner(classes, **{"name": "words", **keywords})
        runner.init_local(quiet=True)
        return runner

    def of_model(module: str, tag: str, **keywords: Any) -> Any:
        runner = getattr(bentoml, module).get(tag).to_runner(**keywords)
        runner.init_local(quiet=True)
        return runner

    async def stream(method: Any) -> list[Any]:
        return [value async for value in method.async_stream("abc")]

    async def both(left: Any, right: Any) -> Any:
        return await asyncio.gather(left, right)

    return {
        "coroutine": lambda: local().upper.run("word"),
        "coroutine, async": lambda: asyncio.run(local().upper.async_run("word")),
        "no arguments": lambda: local().lengths.run(),
        "no dimension": lambda: local().lengths.run(numpy.array(1)),
        "a method named run": lambda: renamed(bentoml, classes).run("ab"),
        "a method named as an attribute": lambda: renamed(bentoml, classes, "destroy").destroy(),
        "custom": lambda: local(runnable_init_params={"prefix": "ab"}).lengths.run(["a", "bc"]),
        "custom async": lambda: asyncio.run(local().lengths.async_run(["a", "bc"])),
        "columns": lambda: local().columns.run(numpy.ones((2, 3)), other=numpy.ones((5, 3))).tolist(),
        "columns differ": lambda: local().columns.run(numpy.ones((2, 3)), other=numpy.ones((2, 4))),
        "sizes differ": lambda: local().lengths.run(["a"], extra=numpy.ones(2)),
        "sizes differ as lists": lambda: local().lengths.run(["a"], ["b", "c"]),
        "sizes differ from one": lambda: local().lengths.run(["a", "b"], "text"),
        "one item": lambda: local().lengths.run(["a"], extra="text"),
        "text": lambda: local().lengths.run("ab", "text"),
        "sizes are not compared": lambda: asyncio.run(local().lengths.async_run(["a"], ["b", "c"])),
        "user's error": lambda: local().fail.run(),
        "user's error, async": lambda: asyncio.run(local().fail.async_run()),
        "too many arguments": lambda: local().letters.run("a", "b"),
        "stream": lambda: asyncio.run(stream(local().letters)),
        "async stream": lambda: asyncio.run(stream(local().later)),
        "not a stream": lambda: asyncio.run(stream(local().lengths)),
        "no run": lambda: hasattr(local(), "run") or hasattr(local(), "async_run"),
        "unknown method": lambda: local().unknown.run(),
        "not initialised": lambda: bentoml.Runner(classes, name="words").lengths.run(["a"]),
        "not initialised, async": lambda: asyncio.run(bentoml.Runner(classes, name="w").lengths.async_run(["a"])),
        "not initialised, stream": lambda: bentoml.Runner(classes, name="words").letters.async_stream("a"),
        "initialised twice": lambda: local().init_local(),
        "destroyed": lambda: destroyed(local()),
        "bad parameters": lambda: local(runnable_init_params={"unknown": 1}),
        "no methods": lambda: bentoml.Runner(bentoml.Runnable, name="x"),
        "bad name": lambda: bentoml.Runner(classes, name="not a tag"),
        "long name": lambda: bentoml.Runner(classes, name="a" * 64),
        "default name": lambda: bentoml.Runner(classes).name,
        "capital name": lambda: bentoml.Runner(classes, name="Words").name,
        "limits": lambda: limits(
            bentoml.Runner(classes, name="w", max_latency_ms=7, method_configs={"fail": {"max_batch_size": 3}})
        ),
        "changed": lambda: setattr(local(), "name", "other"),
        "changed resources": lambda: setattr(classes(), "SUPPORTED_RESOURCES", ()),
        "method of an instance": lambda: classes().method,
        "added to an instance": lambda: classes().add_method(print, "x"),
        "table": lambda: table(classes),
        "sklearn": lambda: of_model("sklearn", "iris").predict.run(SAMPLE).tolist(),
        "sklearn by name": lambda: of_model("sklearn", "iris:latest", name="Other").name,
        "sklearn probabilities": lambda: of_model("sklearn", "iris").predict_proba.run(numpy.array(SAMPLE)).tolist(),
        "sklearn keyword": lambda: of_model("sklearn", "iris").predict.run(X=SAMPLE).tolist(),
        "sklearn gathered": lambda: asyncio.run(gathered(both, of_model("sklearn", "iris"))),
        "sklearn sizes": lambda: of_model("sklearn", "iris").predict.run(SAMPLE, [1]),
        "sklearn error": lambda: of_model("sklearn", "iris").predict.run([[1.0]]),
        "sklearn table": lambda: table(bentoml.sklearn.get("iris").to_runnable()),
        "sklearn unknown method": lambda: of_model("sklearn", "iris-unknown").run(SAMPLE),
        "sklearn no methods": lambda: of_model("sklearn", "iris-none"),
        "sklearn limits": lambda: limits(of_model("sklearn", "iris", max_batch_size=1, embedded=True)),
        "object": lambda: of_model("picklable_model", "calculator").run(3),
        "object keyword": lambda: of_model("picklable_model", "calculator").run(3, factor=5),
        "object async": lambda: asyncio.run(of_model("picklable_model", "calculator").async_run("ab")),
        "object method": lambda: of_model("picklable_model", "calculator").add.run([1], [2]),
        "object sizes": lambda: of_model("picklable_model", "calculator").add.run([1], [2, 3]),
        "object table": lambda: table(bentoml.picklable_model.get("calculator").to_runnable()),
        "object partial": lambda: partial(bentoml),
        "other module": lambda: of_model("picklable_model", "iris"),
        "not there": lambda: of_model("picklable_model", "nothing"),
    }


def save_models(bentoml: Any) -> None:
    features, labels = importlib.import_module("sklearn.datasets").load_iris(return_X_y=True)
    classifier = importlib.import_module("sklearn.linear_model").LogisticRegression(max_iter=500).fit(features, labels)
    signatures: dict[str, Any] = {"predict": {"batchable": True, "batch_dim": 0}, "predict_proba": {}}
    bentoml.sklearn.save_model("iris:v1", classifier, signatures=signatures)
    bentoml.sklearn.save_model("iris-unknown", classifier, signatures={"unknown": {}})
    bentoml.sklearn.save_model("iris-none", classifier, signatures={})
    signatures = {"__call__": {}, "add": {"batchable": True, "batch_dim": (0, 1)}}
    bentoml.picklable_model.save_model("calculator", Calculator(), signatures=signatures)


def renamed(bentoml: Any, classes: type, name: str = "run") -> Any:
    class Renamed(bentoml.Runnable):
        SUPPORTED_RESOURCES = ("cpu",)
        SUPPORTS_CPU_MULTI_THREADING = True

    Renamed.add_method(lambda self, word: classes().prefix + word, name=name)
    runner = bentoml.Runner(Renamed, name="x")
    runner.init_local(quiet=True)
    return runner


def partial(bentoml: Any) -> Any:
    model = bentoml.picklable_model.get("calculator").with_options(partial_kwargs={"__call__": {"factor": 10}})
    runner = model.to_runner()
    runner.init_local(quiet=True)
    return [runner.run(3), runner.run(3, factor=1), runner.add.run([1], [2])]


def destroyed(runner: Any) -> Any:
    runner.destroy()
    return runner.lengths.run(["a"])


async def gathered(both: Any, runner: Any) -> Any:
    left, right = await both(runner.predict.async_run(SAMPLE), runner.predict_proba.async_run(SAMPLE))
    return [left.tolist(), right.tolist()]


def limits(runner: Any) -> Any:
    methods = {method.name: [method.max_batch_size, method.max_latency_ms] for method in runner.runner_methods}
    return [runner.name, runner.embedded, len(runner.models), methods]


def table(runnable_class: Any) -> Any:
    methods = runnable_class.bentoml_runnable_methods__
    return [
        runnable_class.SUPPORTED_RESOURCES,
        runnable_class.SUPPORTS_CPU_MULTI_THREADING,
        {name: [vars_of(method.config), method.func.__doc__] for name, method in methods.items()},
    ]


def vars_of(config: Any) -> Any:
    return [config.batchable, config.batch_dim, config.input_spec, config.output_spec, config.is_stream]


def outcome(case: Callable[[], Any], home: str) -> Any:
    """Return what a case gave: its value, or its error's class and text without what is the implementation's."""
    try:
        value = case()
        return {"value": f"a {type(value).__name__}" if asyncio.iscoroutine(value) else value}
    except Exception as error:
        text = re.sub(r"include '.*' to your", "include RUNNER to your", str(error))
        text = re.sub(r"\w+(\.<locals>\.\w+)+\.", "", text).replace(home, "HOME")
        return {"error": type(error).__name__, "text": text}


def main(home: str) -> None:
    """Do all cases."""
    os.environ["BENTOML_HOME"] = home
    warnings.simplefilter("ignore")
    logging.disable()
    import bentoml

    sys.stdout.write("ANSWER" + json.dumps({name: outcome(case, home) for name, case in cases(bentoml).items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
