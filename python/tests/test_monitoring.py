"""`bentoml.monitor`: what is written, by whom it is configured, and what a failing block leaves behind."""

from __future__ import annotations

import json
import logging
from collections import deque
from pathlib import Path
from typing import Any, Callable

import bentoml
import numpy as np
import pytest
from bentoml.exceptions import BentoMLConfigException
from front import Front

from ekiben.monitoring import records, settings
from ekiben.unsupported import NotSupportedYet

Serve = Callable[..., Front]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(records, "_monitors", {})
    monkeypatch.setattr(settings, "_sections", {})
    monkeypatch.chdir(tmp_path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_and_their_schema_are_lines_of_json(tmp_path: Path) -> None:
    for n in (1, 2):
        with bentoml.monitor("flowers") as mon:
            mon.log(np.float32(n), "width", "feature", "numerical")
            mon.log("setosa", "class", "prediction", "categorical")
    with bentoml.monitor("flowers") as mon:
        mon.log_batch([3, 4], "width", "feature", "numerical")
        mon.log_batch(["a", "b"], "class", "prediction", "categorical")
    rows = lines(tmp_path / "monitoring/flowers/data/data.0.log")
    assert [(row["width"], row["class"]) for row in rows] == [(1, "setosa"), (2, "setosa"), (3, "a"), (4, "b")]
    assert set(rows[0]) == {"width", "class", "timestamp", "request_id", "trace_id"}
    [schema] = lines(tmp_path / "monitoring/flowers/schema/schema.0.log")
    assert schema["columns"] == [
        {"name": "width", "role": "feature", "type": "numerical"},
        {"name": "class", "role": "prediction", "type": "categorical"},
    ]
    assert set(schema["meta_data"]) == {"bento_name", "bento_version"}


class Kept(bentoml.monitoring.MonitorBase):
    PRESERVED_COLUMNS = ("own",)

    def __init__(self, name: str, **options: Any):
        super().__init__(name)
        self.options = options
        self.rows: list[dict[str, list[Any]]] = []

    def export_schema(self, columns_schema: dict[str, dict[str, str]]) -> None:
        self.schema = columns_schema

    def export_data(self, datas: dict[str, deque[Any]]) -> None:
        self.rows.append({name: list(values) for name, values in datas.items()})


def test_a_block_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(KeyError), bentoml.monitor("m", Kept) as mon:
        mon.log(1, "x", "feature", "numerical")
        raise KeyError
    with bentoml.monitor("m") as again:
        again.log(2, "x", "feature", "numerical")
        with bentoml.monitor("inner", Kept) as inner:
            inner.log(3, "y", "feature", "numerical")
        again.log_batch([4], "x", "feature", "numerical")
    assert (again is mon, again.rows, inner.rows) == (True, [{"x": [2, 4]}], [{"y": [3]}])
    with pytest.raises(RuntimeError, match="in the block of"):
        mon.log(1, "x", "feature", "numerical")


def test_what_is_odd_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with bentoml.monitor("m", Kept) as mon:
        pass
    with bentoml.monitor("m") as mon:
        mon.log(1, "own", "witness", "smell")
        mon.log_batch(5, "x", "feature", "numerical")
        mon.log_batch([1, 2], "x", "feature", "numerical")
    said = caplog.text
    for part in ("No data logged", "will be renamed to own_", "Role witness", "Data type smell", "not iterable"):
        assert part in said
    assert "columns of several lengths" in said
    assert list(mon.schema) == ["own_", "x"]


def test_the_configuration_decides_where_the_code_does_not() -> None:
    declared = {"monitoring": {"type": "a", "options": {"log_path": "declared", "x": 1}}}
    settings.set_sections(
        {"monitoring": {"type": "b", "options": {"log_path": "all"}}, "Main": {"monitoring": {"enabled": False}}}
    )
    found = settings.monitoring_settings("Main", declared)
    assert found == {"enabled": False, "type": "b", "options": {"log_path": "all", "x": 1}}
    assert settings.monitoring_settings("Other", {})["enabled"] is True
    settings.set_sections({"monitoring": {"type": f"{__name__}.Kept", "options": {"z": 1}}})
    with bentoml.monitor("m") as mon:
        mon.log(1, "x", "feature", "numerical")
    assert (type(mon).__name__, mon.options) == ("Kept", {"log_path": "monitoring", "z": 1})
    settings.set_sections({"monitoring": {"enabled": False}})
    with bentoml.monitor("off") as mon:
        mon.log(1, "x", "feature", "numerical")
    assert not Path("monitoring").exists()


def test_wrong_classes_are_named() -> None:
    with pytest.raises(BentoMLConfigException, match="`monitoring.type` must be a class, but is `nowhere.Monitor`"):
        bentoml.monitor("a", "nowhere.Monitor").__enter__()
    with pytest.raises(NotSupportedYet, match="the type `otlp`"):
        bentoml.monitor("b", "otlp").__enter__()


def test_logging_can_be_configured_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "logging.yaml").write_text(
        """
version: 1
disable_existing_loggers: false
loggers:
  bentoml_monitor_data: {{level: INFO, handlers: [data], propagate: false}}
  bentoml_monitor_schema: {{level: INFO, handlers: [schema], propagate: false}}
handlers:
  data: {{class: logging.FileHandler, filename: '{data_filename}', formatter: own}}
  schema: {{class: logging.FileHandler, filename: '{schema_filename}', formatter: own}}
formatters:
  own: {{format: '{monitor_name} of {worker_id}: %(message)s'}}
"""
    )
    options = {"log_path": "here", "log_config_file": "logging.yaml"}
    with bentoml.monitor("m", monitor_options=options) as mon:
        mon.log(1, "x", "feature", "numerical")
    assert (tmp_path / "here/m/data/data.0.log").read_text().startswith("m of 0: {'x': 1, 'timestamp'")
    (tmp_path / "logging.yaml").write_text("{unknown}")
    with (
        pytest.raises(BentoMLConfigException, match="cannot read the logging configuration"),
        bentoml.monitor("other", monitor_options=options) as mon,
    ):
        mon.log(1, "x", "feature", "numerical")


def test_a_worker_writes_the_request_with_its_rows(serve: Serve, tmp_path: Path) -> None:
    sections = {"Svc": {"monitoring": {"options": {"log_path": str(tmp_path / "seen")}}}}
    front = serve(
        """
        @bentoml.service(monitoring={"options": {"log_path": "declared"}})
        class Svc:
            @bentoml.api
            def classify(self, x: int) -> int:
                with bentoml.monitor("m") as mon:
                    mon.log(x, "x", "feature", "numerical")
                return x
        """,
        worker_id=2,
        arguments=(f"--monitoring={json.dumps(sections)}",),
    )
    front.ready()
    trace = {"content-type": "application/json", "traceparent": f"00-{'a' * 32}-b7ad6b7169203331-01"}
    assert front.ask("classify", {"x": 5}, headers=trace)[0] == 200
    [row] = lines(tmp_path / "seen/m/data/data.2.log")
    assert (row["x"], row["request_id"], row["trace_id"]) == (5, "0220f97cd44d1018", "a" * 32)
