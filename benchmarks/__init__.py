"""Benchmarks: this library beside the raw drivers and its peers, on the same servers in one run."""
