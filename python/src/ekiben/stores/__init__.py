"""Stores of models and bentos on this machine, and the archives that carry their items.

What is written here is what the `ekiben` executable writes: the same layout, locks and staging directories, so that
both can work on one home at the same time.
"""
