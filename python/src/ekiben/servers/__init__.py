"""Servers started from Python: ``bentoml.serve``, ``Service.serve_http`` and the older ``bentoml.HTTPServer``.

Each is the ``ekiben`` executable as a child process, with workers in this interpreter's environment.
"""
