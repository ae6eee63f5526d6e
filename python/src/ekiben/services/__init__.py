"""Services: the class decorator, the object it makes, hooks, mounts and loading by name.

Named in the plural because ``bentoml.service`` is the decorator: a sub-package of that name would take its place.
"""
