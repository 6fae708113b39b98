"""Faregate: a prepaid, metered gateway for Claude models."""

__version__ = "0.1.0"
