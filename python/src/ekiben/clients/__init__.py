"""Clients of services: ``bentoml.SyncHTTPClient``, ``bentoml.AsyncHTTPClient``, and what dependencies by URL are.

What an API takes and returns is read from the server's ``/schema.json``: a client needs none of the service's code.
"""
