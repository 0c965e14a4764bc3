"""Specs to judge: the smallest valid ones, and one deviation for every way to be wrong."""

from typing import Any, NamedTuple

Spec = dict[str, Any]

ADMIN: Spec = {"name": "admin"}
CA: Spec = {"configMapKeyRef": {"name": "ca"}}
COMPARTMENT = "ocid1.compartment.oc1..aaaa"

BACKENDS: dict[str, Spec] = {
    "postgresql": {"adminSecretRef": ADMIN, "host": "db.example.com", "database": "agents"},
    "redis": {"adminSecretRef": ADMIN, "addresses": ["redis.example.com:6379"]},
    "oracle": {"adminSecretRef": ADMIN, "dsn": "db.example.com:1521/agents"},
    "ociBucket": {"compartmentId": COMPARTMENT, "region": "eu-frankfurt-1"},
    "opensearch": {"adminSecretRef": ADMIN, "hosts": ["https://search.example.com:9200"]},
    "http": {"baseUrl": "https://memory.example.com/v1"},
    "file": {"size": "10Gi"},
    "memory": {},
}


def on(kind: str, **fields: Any) -> Spec:
    """A store's spec with a backend of that kind and these fields of it; None takes a field away."""
    backend = {key: each for key, each in (BACKENDS[kind] | fields).items() if each is not None}
    return {"backend": {kind: backend}}


def with_memory(**fields: Any) -> Spec:
    """A store's spec with these fields beside the backend."""
    return on("memory") | fields


def store(spec: Any, name: str = "support") -> Spec:
    return {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStore",
        "metadata": {"name": name, "namespace": "agents"},
        "spec": spec,
    }


def store_class(spec: Any, name: str = "shared") -> Spec:
    return {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStoreClass",
        "metadata": {"name": name},
        "spec": spec,
    }


class Wrong(NamedTuple):
    """A spec that is wrong in one field, and words that the message about it must hold."""

    spec: Any
    path: str
    words: str


EXPRESSION: Spec = {"key": "team", "operator": "In", "values": ["a", "b"]}

VALID_STORES: dict[str, Spec] = {
    **{kind: on(kind) for kind in BACKENDS},
    "a class": {"className": "shared"},
    "the default class": {},
    "nulls are absent": {"backend": {"memory": {}, "redis": None}, "className": None, "suspend": None},
    "everything around the backend": {
        **on("postgresql"),
        "retention": {"maxAge": "90d", "maxCheckpointsPerThread": 50},
        "deletionPolicy": "Delete",
        "credentials": {"rotationPeriod": "2d", "overlap": "47h"},
        "longTermMemory": {"embeddingDimension": 1024},
        "pods": {
            "selector": {"matchLabels": {"app": "agent", "empty": ""}, "matchExpressions": [EXPRESSION]},
            "containers": ["agent", "init"],
        },
        "bindingSecretName": "conversations",
        "suspend": True,
    },
    "an empty selector": with_memory(pods={"selector": {}}),
    "a label that must exist": with_memory(
        pods={"selector": {"matchExpressions": [{"key": "example.com/agent", "operator": "Exists"}]}}
    ),
    "no long-term memory on files": on("file") | {"longTermMemory": {"enabled": False}},
    "full postgresql": on(
        "postgresql",
        adminSecretRef={"name": "admin", "keys": {"username": "POSTGRES_USER", "password": "POSTGRES_PASSWORD"}},
        port=6432,
        sslMode="verify-ca",
        schema="support_agent",
        ca={"secretKeyRef": {"name": "ca", "key": "root.pem"}},
        poolMaxSize=1,
    ),
    "IPv6": on("postgresql", host="[fd00::1]"),
    "sentinel": on("redis", mode="sentinel", addresses=["a:26379", "[fd00::1]:26379"], masterName="mymaster"),
    "sentinel with logins of its own": on(
        "redis", mode="sentinel", addresses=["a:26379"], masterName="m", sentinelSecretRef=ADMIN
    ),
    "cluster": on("redis", mode="cluster", addresses=["a:6379", "b:6379"], tls=True, ca=CA),
    "ttl within retention": on("redis", keyPrefix="agents:support:", ttl={"onWrite": "24h", "refreshOnRead": True})
    | {"retention": {"maxAge": "1d"}},
    "full oracle": on(
        "oracle",
        walletSecretRef={"name": "wallet"},
        owner="LOCUS",
        tableName="CHECKPOINTS",
        tablespace="USERS",
        quota="10G",
    ),
    "full bucket": on(
        "ociBucket",
        namespace="acme",
        endpoint="http://localhost:8080",
        bucketName="agents",
        prefix="support/",
        storageTier="InfrequentAccess",
        versioning="Enabled",
        kmsKeyId="ocid1.key.oc1.eu-frankfurt-1.vault.key",
        replication={"destinationRegion": "eu-amsterdam-1", "destinationBucket": "copy"},
        auth={"operator": {"type": "apiKey", "secretRef": {"name": "key"}}, "agents": {"type": "resourcePrincipal"}},
    )
    | {"retention": {"archiveAfter": "30d", "maxAge": "8760h"}},
    "full opensearch": on("opensearch", indexPrefix="agents-", shards=3, replicas=0, ca=CA),
    "full http": on("http", headersSecretRef={"name": "headers"}, healthPath="/", ca=CA),
    "full file": on("file", storageClassName="fast", accessModes=["ReadWriteMany", "ReadWriteOnce"]),
    "an existing claim": on("file", size=None, existingClaim="threads"),
}

INVALID_STORES: dict[str, Wrong] = {
    "no spec": Wrong(None, "spec", "is required"),
    "class and backend": Wrong(with_memory(className="shared"), "spec", "at most one of className"),
    "two backends": Wrong({"backend": on("redis")["backend"] | {"memory": {}}}, "spec.backend", "exactly one backend"),
    "no backend": Wrong({"backend": {}}, "spec.backend", "exactly one backend"),
    "a backend without braces": Wrong({"backend": {"memory": None}}, "spec.backend", "`memory: {}`"),
    "an unknown backend": Wrong({"backend": {"postgres": {}}}, "spec.backend.postgres", "write postgresql"),
    "an unknown field": Wrong(with_memory(retentoin={}), "spec.retentoin", "write retention"),
    "a field in snake case": Wrong({"class_name": "shared"}, "spec.class_name", "write className"),
    "a class name in capitals": Wrong({"className": "Shared"}, "spec.className", "name of a Kubernetes object"),
    "a bad duration": Wrong(with_memory(retention={"maxAge": "3 months"}), "spec.retention.maxAge", "such as 90d"),
    "a duration without unit": Wrong(with_memory(retention={"maxAge": 90}), "spec.retention.maxAge", "such as 90d"),
    "keep none": Wrong(
        with_memory(retention={"maxCheckpointsPerThread": 0}),
        "spec.retention.maxCheckpointsPerThread",
        "from 1 to 1000000",
    ),
    "keep some text": Wrong(
        with_memory(retention={"maxCheckpointsPerThread": "5"}),
        "spec.retention.maxCheckpointsPerThread",
        "from 1 to 1000000",
    ),
    "archive after hours": Wrong(
        on("ociBucket") | {"retention": {"archiveAfter": "48h"}}, "spec.retention.archiveAfter", "such as 30d"
    ),
    "archive what is deleted": Wrong(
        on("ociBucket") | {"retention": {"archiveAfter": "30d", "maxAge": "720h"}},
        "spec.retention.archiveAfter",
        "shorter than maxAge",
    ),
    "archive without archive": Wrong(
        on("redis") | {"retention": {"archiveAfter": "30d"}}, "spec.retention.archiveAfter", "remove archiveAfter"
    ),
    "an unknown deletion policy": Wrong(
        with_memory(deletionPolicy="Recycle"), "spec.deletionPolicy", "'Retain' or 'Delete'"
    ),
    "overlap as long as the period": Wrong(
        with_memory(credentials={"rotationPeriod": "1d", "overlap": "24h"}),
        "spec.credentials.overlap",
        "shorter than rotationPeriod",
    ),
    "long-term memory on files": Wrong(
        on("file") | {"longTermMemory": {}}, "spec.longTermMemory", "remove longTermMemory"
    ),
    "vectors of no length": Wrong(
        with_memory(longTermMemory={"embeddingDimension": 0}),
        "spec.longTermMemory.embeddingDimension",
        "from 1 to 16000",
    ),
    "a bad label": Wrong(
        with_memory(pods={"selector": {"matchLabels": {"app": "a b"}}}),
        "spec.pods.selector.matchLabels.app",
        "label's value",
    ),
    "In without values": Wrong(
        with_memory(pods={"selector": {"matchExpressions": [EXPRESSION | {"values": []}]}}),
        "spec.pods.selector.matchExpressions[0].values",
        "at least one value",
    ),
    "Exists with values": Wrong(
        with_memory(pods={"selector": {"matchExpressions": [EXPRESSION, EXPRESSION | {"operator": "Exists"}]}}),
        "spec.pods.selector.matchExpressions[1].values",
        "remove values",
    ),
    "an unknown operator": Wrong(
        with_memory(pods={"selector": {"matchExpressions": [EXPRESSION | {"operator": "Equals"}]}}),
        "spec.pods.selector.matchExpressions[0].operator",
        "'In', 'NotIn', 'Exists' or 'DoesNotExist'",
    ),
    "a container twice": Wrong(with_memory(pods={"containers": ["a", "a"]}), "spec.pods.containers", "remove one a"),
    "a container in capitals": Wrong(
        with_memory(pods={"containers": ["Agent"]}), "spec.pods.containers[0]", "name of a container"
    ),
    "no containers": Wrong(with_memory(pods={"containers": []}), "spec.pods.containers", "at least 1"),
    "suspend in words": Wrong(with_memory(suspend="yes"), "spec.suspend", "true or false"),
    "a list for an object": Wrong(with_memory(retention=[]), "spec.retention", "write an object"),
    "text for a list": Wrong(on("redis", addresses="a:1"), "spec.backend.redis.addresses", "write a list"),
    # postgresql
    "no host": Wrong(on("postgresql", host=None), "spec.backend.postgresql.host", "is required: Host name"),
    "a URL for a host": Wrong(on("postgresql", host="http://db"), "spec.backend.postgresql.host", "db.example.com"),
    "no credentials": Wrong(
        on("postgresql", adminSecretRef=None), "spec.backend.postgresql.adminSecretRef", "is required"
    ),
    "credentials without name": Wrong(
        on("postgresql", adminSecretRef={}), "spec.backend.postgresql.adminSecretRef.name", "is required"
    ),
    "an unknown key": Wrong(
        on("postgresql", adminSecretRef=ADMIN | {"keys": {"user": "U"}}),
        "spec.backend.postgresql.adminSecretRef.keys.user",
        "write username",
    ),
    "port 0": Wrong(on("postgresql", port=0), "spec.backend.postgresql.port", "from 1 to 65535"),
    "port 65536": Wrong(on("postgresql", port=65536), "spec.backend.postgresql.port", "from 1 to 65535"),
    "port in quotes": Wrong(on("postgresql", port="5432"), "spec.backend.postgresql.port", "from 1 to 65535"),
    "a schema in capitals": Wrong(on("postgresql", schema="Agents"), "spec.backend.postgresql.schema", "lower case"),
    "a schema too long": Wrong(on("postgresql", schema="s" * 64), "spec.backend.postgresql.schema", "at most 63"),
    "a reserved schema": Wrong(on("postgresql", schema="pg_agents"), "spec.backend.postgresql.schema", "pg_*"),
    "the catalogue": Wrong(on("postgresql", schema="information_schema"), "spec.backend.postgresql.schema", "another"),
    "an unknown sslMode": Wrong(
        on("postgresql", sslMode="on"), "spec.backend.postgresql.sslMode", "'verify-ca' or 'verify-full'"
    ),
    "verify-ca without ca": Wrong(on("postgresql", sslMode="verify-ca"), "spec.backend.postgresql.ca", "write ca"),
    "ca without TLS": Wrong(
        on("postgresql", sslMode="disable", ca=CA), "spec.backend.postgresql.sslMode", "write sslMode: verify-full"
    ),
    "no source of ca": Wrong(on("postgresql", ca={}), "spec.backend.postgresql.ca", "exactly one of secretKeyRef"),
    "two sources of ca": Wrong(
        on("postgresql", ca=CA | {"secretKeyRef": {"name": "ca"}}),
        "spec.backend.postgresql.ca",
        "exactly one of secretKeyRef",
    ),
    # redis
    "no addresses": Wrong(on("redis", addresses=[]), "spec.backend.redis.addresses", "at least 1"),
    "an address without port": Wrong(on("redis", addresses=["redis"]), "spec.backend.redis.addresses[0]", "host:port"),
    "an address twice": Wrong(
        on("redis", mode="cluster", addresses=["a:1", "a:1"]), "spec.backend.redis.addresses", "remove one a:1"
    ),
    "standalone with two": Wrong(
        on("redis", addresses=["a:1", "b:1"]), "spec.backend.redis.addresses", "exactly one address"
    ),
    "sentinel without master": Wrong(on("redis", mode="sentinel"), "spec.backend.redis.masterName", "needs masterName"),
    "a Sentinel login without sentinel": Wrong(
        on("redis", sentinelSecretRef=ADMIN), "spec.backend.redis.sentinelSecretRef", "remove it"
    ),
    "a master without sentinel": Wrong(on("redis", masterName="m"), "spec.backend.redis.masterName", "remove it"),
    "cluster with database": Wrong(
        on("redis", mode="cluster", database=1), "spec.backend.redis.database", "write database: 0"
    ),
    "redis ca without TLS": Wrong(on("redis", ca=CA), "spec.backend.redis.tls", "write tls: true"),
    "a prefix with a star": Wrong(on("redis", keyPrefix="a*:"), "spec.backend.redis.keyPrefix", "agents:support:"),
    "a prefix of other prefixes": Wrong(on("redis", keyPrefix="app"), "spec.backend.redis.keyPrefix", "ends with ':'"),
    "a ttl beyond retention": Wrong(
        on("redis", ttl={"onWrite": "25h"}) | {"retention": {"maxAge": "1d"}},
        "spec.backend.redis.ttl.onWrite",
        "no longer than retention.maxAge",
    ),
    # oracle, ociBucket, opensearch, http, file, memory
    "an owner with a hyphen": Wrong(on("oracle", owner="a-b"), "spec.backend.oracle.owner", "name of Oracle"),
    "a dsn with a login": Wrong(on("oracle", dsn="scott/tiger@db/x"), "spec.backend.oracle.dsn", "without login"),
    "a quota without unit": Wrong(on("oracle", quota="10"), "spec.backend.oracle.quota", "such as 10G"),
    "no OCID": Wrong(
        on("ociBucket", compartmentId="dev"), "spec.backend.ociBucket.compartmentId", "ocid1.compartment."
    ),
    "no region": Wrong(on("ociBucket", region=None), "spec.backend.ociBucket.region", "is required"),
    "an archived bucket": Wrong(
        on("ociBucket", storageTier="Archive"), "spec.backend.ociBucket.storageTier", "'Standard' or"
    ),
    "a prefix without slash": Wrong(on("ociBucket", prefix="a"), "spec.backend.ociBucket.prefix", "ends with '/'"),
    "apiKey without Secret": Wrong(
        on("ociBucket", auth={"agents": {"type": "apiKey"}}),
        "spec.backend.ociBucket.auth.agents.secretRef",
        "write secretRef.name",
    ),
    "a Secret without apiKey": Wrong(
        on("ociBucket", auth={"operator": {"secretRef": {"name": "key"}}}),
        "spec.backend.ociBucket.auth.operator.type",
        "write type: apiKey",
    ),
    "agents of a cluster by their keys": Wrong(
        on(
            "ociBucket",
            auth={"agents": {"type": "apiKey", "secretRef": {"name": "key"}, "clusterId": "ocid1.cluster.oc1.eu.c"}},
        ),
        "spec.backend.ociBucket.auth.agents.type",
        "remove them",
    ),
    "a dynamic group of pods": Wrong(
        on("ociBucket", auth={"agents": {"type": "workloadIdentity", "dynamicGroup": "agents"}}),
        "spec.backend.ociBucket.auth.agents.type",
        "remove it",
    ),
    "half a replication": Wrong(
        on("ociBucket", replication={"destinationRegion": "eu-amsterdam-1"}),
        "spec.backend.ociBucket.replication.destinationBucket",
        "is required",
    ),
    "an index in capitals": Wrong(
        on("opensearch", indexPrefix="Agents"), "spec.backend.opensearch.indexPrefix", "lower case"
    ),
    "a host without scheme": Wrong(
        on("opensearch", hosts=["search:9200"]), "spec.backend.opensearch.hosts[0]", "https://search.example.com"
    ),
    "no shards": Wrong(on("opensearch", shards=0), "spec.backend.opensearch.shards", "from 1 to 1024"),
    "a URL with a login": Wrong(on("http", baseUrl="https://a:b@c/"), "spec.backend.http.baseUrl", "without login"),
    "http ca without TLS": Wrong(
        on("http", baseUrl="http://memory", ca=CA), "spec.backend.http.baseUrl", "starts with https://"
    ),
    "a relative path": Wrong(on("http", healthPath="health"), "spec.backend.http.healthPath", "starts with '/'"),
    "no claim": Wrong(on("file", size=None), "spec.backend.file", "exactly one of size"),
    "two claims": Wrong(on("file", existingClaim="a"), "spec.backend.file", "exactly one of size"),
    "a claim with modes": Wrong(
        on("file", size=None, existingClaim="a", accessModes=["ReadWriteOnce"]),
        "spec.backend.file.existingClaim",
        "remove these",
    ),
    "a size in words": Wrong(on("file", size="10 GB"), "spec.backend.file.size", "such as 10Gi"),
    "a volume to read": Wrong(
        on("file", accessModes=["ReadOnlyMany"]), "spec.backend.file.accessModes[0]", "'ReadWriteOnce'"
    ),
    "a field in memory": Wrong(on("memory", size="1Gi"), "spec.backend.memory.size", "remove it"),
}
