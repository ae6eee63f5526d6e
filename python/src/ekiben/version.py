"""Versions: of this package, and of the upstream release whose formats and names it speaks."""

__version__ = "0.1.0"

# Written as `bentoml_version` into model.yaml: the release whose file format this package writes.
BENTOML_VERSION = "1.4.39"
