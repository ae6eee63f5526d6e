"""The worker: one process that runs one service behind the front, over the protocol of docs/formats/worker-protocol.md.

``frames`` and ``channel`` speak the protocol, ``description`` tells the front what the service is, ``session`` leads a
worker from start to exit, ``calls`` answers API calls.
"""
