"""The port to PersistentVolumeClaims, for the backend `file`: the provisioners know no Kubernetes."""

from __future__ import annotations

from typing import Protocol


class VolumeClaims(Protocol):
    """PersistentVolumeClaims in the namespace of one store."""
