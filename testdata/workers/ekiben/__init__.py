"""Stands in for the SDK in tests of the front."""
