"""The mutating admission webhook: it mounts bindings into the pods that ask for them.

A process of its own, and a pure function of the `AdmissionReview`: no API calls, no state, any number of
replicas.
"""
