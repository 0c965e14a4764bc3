"""On a kind cluster, for what the API server of 1.20 cannot show: CEL, Pod Security, Services, images that are built.

`make kind` runs them; they need Docker, and the network for what kind and the cluster pull.
"""
