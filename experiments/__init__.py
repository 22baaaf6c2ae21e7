"""Experiments: searches, controls and published tables, each one resumable command."""
