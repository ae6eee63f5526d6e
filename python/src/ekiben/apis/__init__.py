"""APIs: the method decorator, what it reads from a signature, and the documents made from that.

Named in the plural because ``bentoml.api`` is the decorator: a sub-package of that name would take its place.
"""
