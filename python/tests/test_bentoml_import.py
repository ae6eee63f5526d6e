"""``import bentoml`` without and with the upstream package; what each name gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
INSTALL = "import _ekiben_bentoml; _ekiben_bentoml.install(); "


def run(code: str, *path: Path, install: bool = True) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter with ``path`` before the SDK."""
    return subprocess.run(
        [sys.executable, "-c", (INSTALL if install else "") + code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, SOURCE]))},
        capture_output=True,
        text=True,
        check=False,
    )


def output(code: str, *path: Path) -> str:
    done = run(code, *path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_bentoml_is_the_sdk_module_for_module() -> None:
    code = """
import bentoml, bentoml.models, bentoml.exceptions, ekiben.models, ekiben.exceptions, ekiben, sys
from bentoml.validators import Shape
from ekiben.io.validators import Shape as same
assert bentoml is ekiben and bentoml.models is ekiben.models and bentoml.exceptions is ekiben.exceptions
assert sys.modules["bentoml.exceptions"] is sys.modules["ekiben.exceptions"]
assert Shape is same
assert ekiben.__spec__.name == "ekiben" and ekiben.models.__spec__.name == "ekiben.models"
import importlib
assert importlib.import_module("bentoml.exceptions").NotFound is ekiben.exceptions.NotFound
print("same")
"""
    assert output(code) == "same"


def test_decorators_survive_the_import_of_their_packages() -> None:
    code = "import bentoml; bentoml.on_startup; import ekiben.apis.method; "
    code += "print(callable(bentoml.service), callable(bentoml.api))"
    assert output(code) == "True True"


def test_a_folder_of_the_name_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "bentoml" / "models").mkdir(parents=True)
    code = "import bentoml, bentoml.models; print(bentoml.__name__, bentoml.models.__name__)"
    assert output(code, tmp_path) == "ekiben ekiben.models"


def test_upstream_wins_behind_a_folder_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "store" / "bentoml").mkdir(parents=True)
    upstream = tmp_path / "site" / "bentoml"
    upstream.mkdir(parents=True)
    (upstream / "__init__.py").write_text("real = True\n")
    assert output("import bentoml; print(bentoml.real)", tmp_path / "store", tmp_path / "site") == "True"


def test_upstream_wins_where_it_is_installed(tmp_path: Path) -> None:
    upstream = tmp_path / "site" / "bentoml"
    upstream.mkdir(parents=True)
    (upstream / "__init__.py").write_text("real = True\n")
    assert output("import bentoml; print(bentoml.real, bentoml.__file__)", upstream.parent).startswith("True")
    code = "import bentoml\ntry:\n    import bentoml.models\nexcept ModuleNotFoundError as e:\n    print(e.name)"
    assert output(code, upstream.parent) == "bentoml.models"


def test_the_fallback_is_the_last_finder_and_stands_once() -> None:
    code = """
_ekiben_bentoml.install()
import sys
print(sys.meta_path.index(_ekiben_bentoml.BentomlFallback) == len(sys.meta_path) - 1)
print(sys.meta_path.count(_ekiben_bentoml.BentomlFallback))
"""
    assert output(code).split() == ["True", "1"]


def test_a_plain_copy_into_site_packages_works(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    shutil.copytree(SOURCE, site)
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import site; site.addsitedir({str(site)!r}); import bentoml; print(bentoml.__file__)",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.stdout.strip() == str(site / "ekiben" / "__init__.py")


def test_importing_is_cheap() -> None:
    code = """
import sys
before = set(sys.modules)
import bentoml
heavy = {"pydantic", "numpy", "yaml", "cloudpickle", "asyncio", "typing", "inspect", "logging"}
print(heavy & (set(sys.modules) - before) or "nothing")
"""
    assert output(code) == "nothing"
    measured = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", INSTALL + "import bentoml"],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=True,
        )
        measured.append(int(re.search(r"\|\s+(\d+) \| bentoml", done.stderr)[1]))
    assert min(measured) < 20_000  # microseconds


def test_defining_a_service_imports_neither_pydantic_nor_numpy() -> None:
    code = """
import bentoml, sys
@bentoml.service
class Svc:
    model = bentoml.models.BentoModel("x:latest")
    @bentoml.api
    def f(self, x: int) -> int: return x
print({'pydantic', 'numpy', 'yaml', 'cloudpickle'} & set(sys.modules) or 'nothing')
"""
    assert output(code) == "nothing"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("bentoml.nope", "AttributeError: module bentoml has no attribute nope"),
        ("bentoml.GrpcServer", "UnsupportedAttribute: `bentoml.GrpcServer` is not supported yet by ekiben"),
        ("from bentoml import GrpcServer", "UnsupportedImport: `bentoml.GrpcServer` is not supported yet by ekiben"),
        ("from bentoml.io import Nothing", "ImportError: cannot import name 'Nothing' from 'ekiben.io'"),
        ("import bentoml.triton", "UnsupportedImport: `bentoml.triton` is not supported yet by ekiben"),
        (
            "from bentoml.legacy import GrpcServer",
            "NotSupportedYet: `bentoml.legacy.GrpcServer` is not supported yet by ekiben",
        ),
        ("from bentoml.legacy import nope", "ImportError: cannot import name 'nope' from 'ekiben.legacy'"),
        ("import bentoml.nope", "ModuleNotFoundError: No module named 'bentoml.nope'"),
        ("bentoml.load_config()", "UnsupportedAttribute: `bentoml.load_config` is not supported yet by ekiben"),
    ],
)
def test_names_that_are_missing_say_so(code: str, error: str) -> None:
    done = run(f"import bentoml; {code}")
    assert done.returncode == 1
    assert error in done.stderr.strip().splitlines()[-1]


def test_missing_names_keep_hasattr_and_except_import_error() -> None:
    code = """
import bentoml
assert not hasattr(bentoml, "GrpcServer") and not hasattr(bentoml, "nope")
try:
    from bentoml import triton
except ImportError as error:
    assert isinstance(error, bentoml.exceptions.BentoMLException)
    print("caught")
"""
    assert output(code) == "caught"


def test_every_name_of_the_table_loads() -> None:
    import ekiben
    from ekiben import exports

    for name in [*exports.ATTRIBUTES, *exports.MODULES]:
        assert getattr(ekiben, name) is exports.load(name)
    assert not exports.UNSUPPORTED & {*exports.ATTRIBUTES, *exports.MODULES}


def test_version_is_the_crates() -> None:
    import ekiben

    cargo = (Path(__file__).parents[2] / "Cargo.toml").read_text()
    pyproject = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', cargo, re.M)[1]
    assert version == ekiben.__version__ == re.search(r'^version = "(.+)"', pyproject, re.M)[1]
