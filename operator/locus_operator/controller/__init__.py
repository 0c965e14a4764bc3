"""The controller: kopf watches, `Reconciler` works, and everything that is decided is decided by pure functions."""
