"""Resolves ``import bentoml`` to the ekiben SDK when the upstream package is not installed.

``ekiben_bentoml.pth`` runs ``install`` at the start of every interpreter, so this module costs as little as it can:
it imports nothing until somebody asks for ``bentoml``.

Three finders do the work. ``BentomlFallback`` stands at the END of ``sys.meta_path``: it is asked only when nobody
else has a ``bentoml``, so the upstream package is never shadowed. ``BentomlOverFolders`` stands at the front for the
one case in which others have none and would answer all the same: a folder of that name, such as a store in the
working directory, which Python takes for a namespace package. Once one has answered, ``BentomlSubmodules`` goes to
the front: ``bentoml`` then IS the module ``ekiben``, and the ordinary path finder would otherwise import a file such
as ``ekiben/exceptions.py`` a second time under the name ``bentoml.exceptions``.
"""

import sys

ALIAS = "bentoml"
TARGET = "ekiben"


class AliasLoader:
    """Gives an alias the very module object of its target."""

    def __init__(self, target):
        self.target = target
        self.spec = None

    def create_module(self, spec):  # noqa: ARG002 (the signature of a loader)
        """Import the target; nothing new is created."""
        from importlib import import_module

        module = import_module(self.target)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        """Put back the module's own spec, which the import system has just replaced by the alias's."""
        module.__spec__ = self.spec


def _alias(name, target):
    from importlib.machinery import ModuleSpec

    return ModuleSpec(name, AliasLoader(target), is_package=True)


class BentomlSubmodules:
    """Maps ``bentoml.X`` to the module of the SDK that has its contents."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # noqa: ARG004 (the signature of a finder)
        """Answer for names below ``bentoml``, and for names of upstream asked of ``ekiben``."""
        prefix, _, rest = name.partition(".")
        if prefix != ALIAS or not rest or sys.modules.get(ALIAS) is not sys.modules.get(TARGET):
            return None
        from ekiben.exports import find_submodule

        found = find_submodule(rest)
        return None if found is None else _alias(name, found)


class BentomlFallback:
    """Answers for ``bentoml`` itself when no other finder does."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # noqa: ARG004 (the signature of a finder)
        """Alias ``bentoml`` to the SDK; explain names of upstream that the SDK does not have."""
        if name == ALIAS:
            if BentomlSubmodules not in sys.meta_path:
                sys.meta_path.insert(0, BentomlSubmodules)
            return _alias(ALIAS, TARGET)
        prefix, _, rest = name.partition(".")
        if prefix == TARGET and rest and sys.modules.get(ALIAS) is sys.modules.get(TARGET):
            # `from bentoml import X`: the import system has asked for `ekiben.X` in vain.
            from ekiben.exports import refuse_unsupported

            refuse_unsupported(rest)
        return None


class BentomlOverFolders:
    """Answers for ``bentoml`` itself where a mere folder would; a package comes before folders in upstream too."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Alias ``bentoml`` to the SDK if all that the path has of that name are folders without modules."""
        if name != ALIAS:
            return None
        from importlib.machinery import PathFinder

        found = PathFinder.find_spec(name)
        is_folder = found is not None and found.loader is None
        return BentomlFallback.find_spec(name, path, target) if is_folder else None


def install():
    """Put the fallback at the end of ``sys.meta_path`` and the finder over folders at its front, once."""
    if BentomlFallback not in sys.meta_path:
        sys.meta_path.append(BentomlFallback)
        sys.meta_path.insert(0, BentomlOverFolders)
