"""Objects that were valid under a released CRD stay valid: compared as schemas, and tried with samples.

`crds/released/<version>` holds what each release has shipped, and never changes. A difference that is meant, such as a
pattern that allows more, has a line in `crds/released/accepted.yaml` that says why it harms nobody.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from locus_memory._version import __version__
from locus_operator.api.crd import crd_manifests, file_name
from tests.unit.operator.class_samples import VALID_CLASSES
from tests.unit.operator.crd_compatibility import of_definitions
from tests.unit.operator.samples import VALID_STORES, store, store_class

CRDS = Path(__file__).resolve().parents[3] / "crds"
RELEASED = CRDS / "released"
RELEASES = sorted(path.name for path in RELEASED.iterdir() if path.is_dir())
TODAY = {file_name(manifest): manifest for manifest in crd_manifests()}
ACCEPTED: dict[str, str] = yaml.safe_load((RELEASED / "accepted.yaml").read_text()) or {}
Schema = dict[str, Any]


def load(path: Path) -> Schema:
    found: Schema = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return found


def schema_of(manifest: Schema) -> Schema:
    found: Schema = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_accepted_is_accepted(release: str) -> None:
    found = []
    for path in sorted((RELEASED / release).glob("*.yaml")):
        assert path.name in TODAY, f"{release} has {path.name}, and today there is none"
        found += [each for each in of_definitions(load(path), TODAY[path.name]) if each not in ACCEPTED]
    advice = (
        f"\nRelease {release} allowed these. Allow them again; or say in crds/released/accepted.yaml why none is harmed"
    )
    assert found == [], "\n".join(found) + advice


@pytest.mark.parametrize("release", RELEASES)
def test_samples_are_valid_under_both(release: str) -> None:
    samples = {
        "checkpointstores": [store(spec) for spec in VALID_STORES.values()],
        "checkpointstoreclasses": [store_class(spec) for spec in VALID_CLASSES.values()],
    }
    for name, manifest in TODAY.items():
        released = schema_of(load(RELEASED / release / name))
        before, now = (jsonschema.Draft7Validator(each) for each in (released, schema_of(manifest)))
        judged = [
            each for each in map(without_nulls, samples[manifest["spec"]["names"]["plural"]]) if before.is_valid(each)
        ]
        assert len(judged) > 10
        assert [error.message for each in judged for error in now.iter_errors(each)] == []


def without_nulls(value: Any) -> Any:
    """What an API server makes of nulls in fields that are not nullable: it drops them."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def test_this_version_has_a_snapshot_once_it_is_released() -> None:
    assert __version__ in RELEASES, f"before the release of {__version__}: `make crd-snapshot`"


def test_accepted_differences_exist() -> None:
    found = {
        each
        for release in RELEASES
        for path in (RELEASED / release).glob("*.yaml")
        for each in of_definitions(load(path), TODAY[path.name])
    }
    assert set(ACCEPTED) - found == set(), "remove them from accepted.yaml"
    assert all(len(reason) > len("because") for reason in ACCEPTED.values())


def test_kustomization_names_every_definition_and_kubectl_apply_does_not_see_it() -> None:
    found = yaml.safe_load((CRDS / "Kustomization").read_text())
    assert sorted(found["resources"]) == sorted(path.name for path in CRDS.glob("*.yaml"))


# What the comparison finds: each change alone, on today's definition of a store.

Change = Callable[[Schema], None]


def at(*path: str) -> Callable[[Schema], Schema]:
    def find(manifest: Schema) -> Schema:
        node = schema_of(manifest)
        for name in path:
            node = node[name] if name == "items" else node["properties"][name]
        return node

    return find


POSTGRESQL = at("spec", "backend", "postgresql")
PORT = at("spec", "backend", "postgresql", "port")
HOST = at("spec", "backend", "postgresql", "host")
MODE = at("spec", "backend", "postgresql", "sslMode")
SPEC = at("spec")


def versions(manifest: Schema) -> list[Schema]:
    found: list[Schema] = manifest["spec"]["versions"]
    return found


REFUSED: dict[str, tuple[Change, str]] = {
    "a field removed": (lambda m: POSTGRESQL(m)["properties"].pop("poolMaxSize"), "poolMaxSize: was removed"),
    "a required field": (lambda m: POSTGRESQL(m)["required"].append("port"), "port: was optional and is required"),
    "a lower maximum": (lambda m: PORT(m).update(maximum=9999), "maximum was 65535 and is 9999"),
    "a higher minimum": (lambda m: PORT(m).update(minimum=1024), "minimum was 1 and is 1024"),
    "a shorter length": (lambda m: HOST(m).update(maxLength=10), "maxLength was"),
    "a new bound": (lambda m: SPEC(m).update(maxProperties=3), "maxProperties was None and is 3"),
    "another pattern": (lambda m: HOST(m).update(pattern="^db$"), "pattern was"),
    "a value removed": (lambda m: MODE(m)["enum"].remove("disable"), "'disable' is no longer allowed"),
    "values for what was free": (lambda m: HOST(m).update(enum=["db"]), "any value was allowed"),
    "another default": (lambda m: PORT(m).update(default=5433), "the default was 5432 and is 5433"),
    "a default removed": (lambda m: PORT(m).pop("default"), "the default was 5432 and is None"),
    "another type": (lambda m: PORT(m).update(type="string"), "type was 'integer' and is 'string'"),
    "a new rule": (
        lambda m: SPEC(m)["x-kubernetes-validations"].append({"rule": "has(self.backend)", "message": "no"}),
        "a new rule may refuse what was valid: has(self.backend)",
    ),
    "a list that merges otherwise": (
        lambda m: at("spec", "pods", "containers")(m).update({"x-kubernetes-list-type": "atomic"}),
        "x-kubernetes-list-type was",
    ),
    "a version no longer served": (lambda m: versions(m)[0].update(served=False), "is no longer served"),
    "no status": (lambda m: versions(m)[0].pop("subresources"), "subresources were"),
    "another scope": (lambda m: m["spec"].update(scope="Cluster"), "scope was Namespaced and is Cluster"),
    "a short name removed": (lambda m: m["spec"]["names"]["shortNames"].clear(), "the short name cps is gone"),
}

ALLOWED: dict[str, Change] = {
    "a new field": lambda m: SPEC(m)["properties"].update(new={"type": "string"}),
    "a higher maximum": lambda m: PORT(m).update(maximum=99999),
    "no pattern": lambda m: HOST(m).pop("pattern"),
    "a new value": lambda m: MODE(m)["enum"].append("allow"),
    "no longer required": lambda m: POSTGRESQL(m)["required"].remove("host"),
    "a rule removed": lambda m: SPEC(m)["x-kubernetes-validations"].clear(),
    "a description": lambda m: PORT(m).update(description="Another."),
    "a column": lambda m: versions(m)[0]["additionalPrinterColumns"].clear(),
}


def changed(change: Change) -> Iterator[str]:
    today = TODAY["memory.locus.dev_checkpointstores.yaml"]
    other = copy.deepcopy(today)
    change(other)
    assert other != today
    return of_definitions(today, other)


@pytest.mark.parametrize("name", REFUSED)
def test_it_finds(name: str) -> None:
    change, message = REFUSED[name]
    (found,) = changed(change)
    assert message in found


@pytest.mark.parametrize("name", ALLOWED)
def test_it_lets_pass(name: str) -> None:
    assert list(changed(ALLOWED[name])) == []
