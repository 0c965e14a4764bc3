"""YAML files instead of a cluster: stores, classes, Secrets and ConfigMaps from one stream."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import yaml

from locus_operator.api import CheckpointStore, CheckpointStoreClass, parse_store, parse_store_class
from locus_operator.constants import ANNOTATION_ADOPT, CLASS_KIND, STORE_KIND
from locus_operator.engine import Source, StoreRequest, effective_spec, required_secrets
from locus_operator.inheritance import check_class, default_class, is_default
from locus_operator.provisioner import Owner
from locus_operator.sources import SourceData
from locus_operator.volume_directories import VolumeDirectories

DEFAULT_NAMESPACE: Final = "default"


class ManifestError(ValueError):
    """A file cannot be read as manifests; the message shows no values, which may be secret."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a stream holds.

    Attributes:
        sources: Decoded data by kind and name. The namespace is not looked at: a class refers to the operator's,
            which does not exist here.
    """

    stores: tuple[CheckpointStore, ...]
    classes: Mapping[str, CheckpointStoreClass]
    sources: Mapping[tuple[str, str], SourceData] = field(repr=False)

    def request(
        self,
        store: CheckpointStore,
        cluster: str,
        binding: Mapping[str, str] | None,
        *,
        volume_dir: Path | None,
        allow_destructive: bool,
    ) -> StoreRequest:
        """Return what the engine needs to know about one store.

        Args:
            store: One of `stores`.
            cluster: Name that stands for the cluster in claims.
            binding: Entries of the binding that was written before.
            volume_dir: Directory in place of PersistentVolumeClaims.
            allow_destructive: Go on where data is destroyed.

        Raises:
            RefusedError: The store's class is not in the stream, or it names neither a class nor a backend and there
                is no default class, or several. Who may use a class is not asked: there are no tenants here.
            LimitExceededError: It asks for more than its class allows.
            InvalidSpecError: What it says and what its class says do not go together.
        """
        meta = store.metadata
        namespace = meta.namespace or DEFAULT_NAMESPACE
        # The same store is the same owner on every run, although no API server has given it a UID.
        uid = meta.uid or str(uuid5(NAMESPACE_URL, f"{cluster}/{namespace}/{meta.name}"))
        store = self._with_default_class(store)
        spec = effective_spec(store, self.classes.get(store.spec.class_name or ""))
        return StoreRequest(
            owner=Owner(cluster, uid, namespace, meta.name),
            spec=spec,
            sources={source: self._source(source) for source in required_secrets(spec)},
            binding=binding or self.sources.get(("Secret", store.binding_secret_name)),
            adopt=meta.annotations.get(ANNOTATION_ADOPT) == "true",
            allow_destructive=allow_destructive,
            volumes=VolumeDirectories(volume_dir, namespace) if volume_dir is not None else None,
        )

    def _with_default_class(self, store: CheckpointStore) -> CheckpointStore:
        """As the controller does, but in memory: the file stays as it is."""
        if store.spec.class_name is not None or store.spec.backend is not None:
            return store
        name = default_class([name for name, each in self.classes.items() if is_default(each.metadata.annotations)])
        return store.model_copy(update={"spec": store.spec.model_copy(update={"class_name": name})})

    def _source(self, source: Source) -> SourceData | None:
        return self.sources.get((source.kind, source.name))


def read_manifests(texts: Iterable[str]) -> Manifests:
    """Read YAML streams; kinds that are not ours are skipped, as `kubectl apply` files hold more.

    Raises:
        ManifestError: No YAML, or a Secret whose data is no base64.
        InvalidSpecError: A store or class is invalid.
    """
    documents = [document for text in texts for document in _documents(text)]
    sources = {
        (document["kind"], str(document.get("metadata", {}).get("name"))): _data(document)
        for document in documents
        if document["kind"] in ("Secret", "ConfigMap")
    }
    classes = [parse_store_class(document) for document in documents if document["kind"] == CLASS_KIND]
    for each in classes:
        check_class(each)
    stores = tuple(parse_store(document) for document in documents if document["kind"] == STORE_KIND)
    return Manifests(stores, {each.metadata.name: each for each in classes}, sources)


def _documents(text: str) -> Iterator[dict[str, Any]]:
    try:
        found = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ManifestError(f"no valid YAML{where}") from None
    for document in found:
        if document is None:
            continue
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise ManifestError("each YAML document must be a Kubernetes object with a kind")
        yield from _documents_of_list(document) if document["kind"] == "List" else [document]


def _documents_of_list(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in document.get("items") or [] if isinstance(item, dict) and "kind" in item]


def _data(document: Mapping[str, Any]) -> SourceData:
    plain = document.get("data") or {}
    if document["kind"] == "ConfigMap":
        return {key: str(value) for key, value in plain.items()}
    decoded = {key: _decode(document, key, value) for key, value in plain.items()}
    written = {key: str(value) for key, value in (document.get("stringData") or {}).items()}
    return {key: value for key, value in (decoded | written).items() if value is not None}


def _decode(document: Mapping[str, Any], key: str, value: object) -> str | None:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except binascii.Error:
        name = document.get("metadata", {}).get("name")
        raise ManifestError(f"Secret {name!r}: data.{key} is no base64; plain text belongs into stringData") from None
    except UnicodeDecodeError:
        return None
