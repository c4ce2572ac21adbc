"""Benchmarks: what a call costs, against the standard library's BaseManager and a session in process."""
