"""What injection does: pure functions from a pod and the stores of its namespace to the pod as it shall be.

The webhook applies them to pods that are created, the controller to pods that exist, to find those that were missed.
"""
