"""Provisioners: the one of `spec.backend.<kind>` is the module of that name.

Each module has `PROVISIONER`, a `locus_operator.provisioner.Provisioner`, and `CONNECTION_TYPE`, the type of its
binding document.
"""
