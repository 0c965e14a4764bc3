"""Specs of classes to judge: valid ones, and one deviation for every way to be wrong."""

from tests.unit.operator.samples import BACKENDS, Spec, Wrong, on, with_memory

OF_ONE_STORE: list[tuple[str, str, Spec]] = [
    ("postgresql", "schema", {"schema": "one"}),
    ("redis", "keyPrefix", {"keyPrefix": "one:"}),
    ("oracle", "owner", {"owner": "ONE"}),
    ("ociBucket", "prefix", {"prefix": "one/"}),
    ("opensearch", "indexPrefix", {"indexPrefix": "one"}),
    ("file", "existingClaim", {"size": None, "existingClaim": "one"}),
]

VALID_CLASSES: dict[str, Spec] = {
    **{kind: on(kind) for kind in BACKENDS},
    "everything": {
        **on("ociBucket", bucketName="agents"),
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}},
        "defaults": {
            "retention": {"maxAge": "30d", "maxCheckpointsPerThread": 10, "archiveAfter": "7d"},
            "deletionPolicy": "Delete",
            "credentials": {"rotationPeriod": "30d", "overlap": "1h"},
        },
        "limits": {"maxRetention": "720h", "maxCheckpointsPerThread": 10, "maxRotationPeriod": "30d"},
    },
    "everybody": with_memory(allowedNamespaces={"from": "All"}),
    "nobody": with_memory(allowedNamespaces={}),
}

INVALID_CLASSES: dict[str, Wrong] = {
    "no backend": Wrong({}, "spec.backend", "is required"),
    "an empty backend": Wrong({"backend": {}}, "spec.backend", "exactly one backend"),
    "Selector without selector": Wrong(
        with_memory(allowedNamespaces={"from": "Selector"}), "spec.allowedNamespaces.selector", "or from: All"
    ),
    "a selector without Selector": Wrong(
        with_memory(allowedNamespaces={"selector": {}}), "spec.allowedNamespaces.from", "write from: Selector"
    ),
    "from somewhere": Wrong(
        with_memory(allowedNamespaces={"from": "Same"}), "spec.allowedNamespaces.from", "'All' or 'Selector'"
    ),
    **{
        f"{kind}.{field} for all stores": Wrong(on(kind, **fields), "spec.backend", field)
        for kind, field, fields in OF_ONE_STORE
    },
    "archive without archive": Wrong(
        with_memory(defaults={"retention": {"archiveAfter": "7d"}}),
        "spec.defaults.retention.archiveAfter",
        "remove archiveAfter",
    ),
    "a default beyond the limit": Wrong(
        with_memory(defaults={"retention": {"maxAge": "31d"}}, limits={"maxRetention": "720h"}),
        "spec.defaults.retention.maxAge",
        "limits.maxRetention",
    ),
    "a count beyond the limit": Wrong(
        with_memory(defaults={"retention": {"maxCheckpointsPerThread": 11}}, limits={"maxCheckpointsPerThread": 10}),
        "spec.defaults.retention.maxCheckpointsPerThread",
        "limits.maxCheckpointsPerThread",
    ),
    "a rotation beyond the limit": Wrong(
        with_memory(defaults={"credentials": {"rotationPeriod": "2d"}}, limits={"maxRotationPeriod": "1d"}),
        "spec.defaults.credentials.rotationPeriod",
        "limits.maxRotationPeriod",
    ),
}
