"""The runner model: ``Runnable`` says what a model can compute, ``Runner`` where, and how calls are merged.

Today a runner computes in its own process only, after ``init_local``. What serves runners comes in by
``Runner.init_client`` with a ``RunnerHandle`` of its own, and merges calls with ``batches``.
"""
