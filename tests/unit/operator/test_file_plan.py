"""What is done about the claim of a `file` store: pure decisions."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from locus_operator.backends.file_plan import (
    CreateClaim,
    DropClaim,
    GrowClaim,
    MarkClaim,
    Observed,
    Target,
    note,
    plan,
    plan_release,
    sharing_warning,
)
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner
from locus_operator.volumes import MountingPod, NewClaim, Phase, StorageClass, VolumeClaim, bytes_of

OWNER = Owner("cluster", "uid-1", "agents", "support")
OTHER = Owner("cluster", "uid-2", "agents", "support")
NEW = NewClaim("support-checkpoints", "10Gi", "fast", ("ReadWriteOnce",))
TARGET = Target(OWNER, NEW.name, NEW, adopt=False, known=False)
EXISTING = replace(TARGET, name="mine", new=None)
CLAIM = VolumeClaim(
    NEW.name,
    "7",
    mark=OWNER.claim(),
    marked_uid=OWNER.uid,
    ours=True,
    size="10Gi",
    capacity="10Gi",
    storage_class="fast",
    access_modes=("ReadWriteOnce",),
)
USERS_OWN = replace(CLAIM, name="mine", mark=None, marked_uid="", ours=False)
GROWING_CLASS = StorageClass("fast", grows=True, waits=False)


def refusal(observed: Observed, target: Target = TARGET) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        plan(observed, target)
    assert caught.value.for_tenants, "it is about their own namespace"
    return caught.value


class TestCreation:
    def test_a_missing_claim_is_made_with_its_mark(self) -> None:
        (action,) = plan(Observed(None), TARGET).actions
        assert isinstance(action, CreateClaim)
        assert str(action) == "create volume claim support-checkpoints: missing"
        assert (action.new, action.mark.uid) == (NEW, "uid-1")
        assert json.loads(action.mark.text)["locus-memory"]["store"] == "agents/support"

    def test_a_claim_that_was_there_before_is_told_as_lost_data(self) -> None:
        (action,) = plan(Observed(None), replace(TARGET, known=True)).actions
        assert "the checkpoints went with its volume: a new one is empty" in str(action)

    def test_an_existing_claim_has_to_exist(self) -> None:
        error = refusal(Observed(None), EXISTING)
        assert error.reason is ConditionReason.VOLUME_CLAIM_NOT_FOUND
        assert "'mine' in the namespace agents (spec.backend.file.existingClaim)" in str(error)

    def test_a_claim_as_desired_needs_nothing(self) -> None:
        assert not plan(Observed(CLAIM), TARGET)


class TestOwnership:
    @pytest.mark.parametrize("adopt", [False, True])
    @pytest.mark.parametrize("target", [TARGET, EXISTING])
    def test_a_living_stores_claim_is_a_conflict_whatever_is_written(self, target: Target, adopt: bool) -> None:
        taken = replace(CLAIM, mark=OTHER.claim(), marked_uid="uid-2")
        error = refusal(Observed(taken), replace(target, adopt=adopt))
        assert error.reason is ConditionReason.CONFLICT
        assert "uid-2" in str(error)

    @pytest.mark.parametrize("target", [TARGET, EXISTING])
    def test_a_released_claim_is_taken_by_who_adopts_it(self, target: Target) -> None:
        left = replace(CLAIM, mark=replace(OTHER, released=True).claim(), marked_uid="")
        assert "was left by the store agents/support (uid uid-2" in str(refusal(Observed(left), target))
        (action,) = plan(Observed(left), replace(target, adopt=True)).actions
        assert isinstance(action, MarkClaim)
        assert action.mark == TARGET.mark

    def test_a_claim_of_nobody_at_the_derived_name_is_adopted_only_when_asked(self) -> None:
        stray = replace(USERS_OWN, name=NEW.name)
        assert "exists and belongs to no store" in str(refusal(Observed(stray)))
        assert plan(Observed(stray), replace(TARGET, adopt=True))

    def test_a_claim_of_nobody_that_the_spec_names_is_taken(self) -> None:
        (action,) = plan(Observed(USERS_OWN), EXISTING).actions
        assert str(action) == "claim volume claim mine: not claimed by this store"

    @pytest.mark.parametrize("lost", [{"mark": None}, {"mark": "edited"}, {"marked_uid": ""}])
    def test_a_mark_that_somebody_changed_is_written_again(self, lost: dict[str, str | None]) -> None:
        (action,) = plan(Observed(replace(CLAIM, **lost)), TARGET).actions  # type: ignore[arg-type]
        assert str(action) == "claim volume claim support-checkpoints: its mark was changed"

    def test_without_annotation_and_label_it_is_nobodys(self) -> None:
        assert refusal(Observed(replace(CLAIM, mark=None, marked_uid=""))).reason is ConditionReason.CONFLICT


class TestSize:
    def test_a_larger_size_grows_the_claim(self) -> None:
        larger = replace(TARGET, new=replace(NEW, size="20Gi"))
        (action,) = plan(Observed(CLAIM, GROWING_CLASS), larger).actions
        assert isinstance(action, GrowClaim)
        assert str(action) == "alter volume claim support-checkpoints: differs: size 10Gi, not 20Gi"

    def test_the_same_size_in_other_words_is_the_same(self) -> None:
        assert not plan(Observed(CLAIM), replace(TARGET, new=replace(NEW, size="10240Mi")))

    def test_a_smaller_size_is_refused(self) -> None:
        error = refusal(Observed(CLAIM, GROWING_CLASS), replace(TARGET, new=replace(NEW, size="5Gi")))
        assert error.reason is ConditionReason.INVALID_SPEC
        assert "write 10Gi" in str(error)

    @pytest.mark.parametrize(
        ("found", "why"),
        [
            (StorageClass("fast", grows=False, waits=False), "'fast' does not have allowVolumeExpansion: true"),
            (None, "'fast' does not exist"),
        ],
    )
    def test_a_class_that_does_not_grow_is_explained(self, found: StorageClass | None, why: str) -> None:
        assert why in str(refusal(Observed(CLAIM, found), replace(TARGET, new=replace(NEW, size="20Gi"))))

    def test_a_claim_without_volume_grows_later(self) -> None:
        pending = replace(CLAIM, phase=Phase.PENDING, capacity=None)
        assert not plan(Observed(pending, GROWING_CLASS), replace(TARGET, new=replace(NEW, size="20Gi")))

    def test_a_growing_volume_is_noted(self) -> None:
        assert "is growing from 10Gi to 20Gi" in note(Observed(replace(CLAIM, size="20Gi")), TARGET)

    @pytest.mark.parametrize(
        ("quantity", "size"),
        [("10Gi", 10 * 2**30), ("500M", 500_000_000), ("1.5k", 1500), ("1e3", 1000), ("123", 123), ("100m", "0.1")],
    )
    def test_quantities_are_read_as_kubernetes_writes_them(self, quantity: str, size: int | str) -> None:
        assert bytes_of(quantity) == Decimal(size)

    @pytest.mark.parametrize("text", ["", "Gi", "10Zi", "ten", "1e", "-1Gi"])
    def test_what_is_no_quantity_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match="no quantity"):
            bytes_of(text)


class TestState:
    def test_a_claim_that_is_being_deleted_names_the_pods_that_hold_it(self) -> None:
        pods = tuple(MountingPod(f"agent-{number}", "n1") for number in range(5))
        message = str(refusal(Observed(replace(CLAIM, ending=True), None, pods)))
        assert "(agent-0, agent-1, agent-2 and 2 more)" in message
        assert "locus-memory export" in message

    def test_a_lost_volume_is_no_readiness(self) -> None:
        assert "has lost its PersistentVolume" in str(refusal(Observed(replace(CLAIM, phase=Phase.LOST))))

    @pytest.mark.parametrize(
        ("claim", "storage_class", "why"),
        [
            (CLAIM, StorageClass("fast", grows=True, waits=True), "for the first pod that mounts it"),
            (CLAIM, GROWING_CLASS, "kubectl describe pvc"),
            (CLAIM, None, "there is no StorageClass fast"),
            (replace(CLAIM, storage_class=None), None, "no default StorageClass"),
        ],
    )
    def test_a_pending_claim_is_as_desired_and_explained(
        self, claim: VolumeClaim, storage_class: StorageClass | None, why: str
    ) -> None:
        observed = Observed(replace(claim, phase=Phase.PENDING, capacity=None), storage_class)
        assert not plan(observed, TARGET)
        assert why in note(observed, TARGET)

    def test_what_never_changes_of_a_claim_is_noted(self) -> None:
        other = replace(TARGET, new=replace(NEW, storage_class="slow", access_modes=("ReadWriteMany",)))
        assert not plan(Observed(CLAIM), other)
        assert "keeps its StorageClass fast" in note(Observed(CLAIM), other)
        assert "keeps its access modes ReadWriteOnce" in note(Observed(CLAIM), other)

    def test_there_is_nothing_to_note_of_a_claim_as_desired(self) -> None:
        assert note(Observed(CLAIM, GROWING_CLASS), TARGET) == ""


class TestSharing:
    @pytest.mark.parametrize(
        ("modes", "nodes", "what"),
        [
            (("ReadWriteOnce",), ("n1", "n2"), "on the nodes n1, n2: only those of one node can start"),
            (("ReadWriteOnce",), ("n1", "n1"), "nothing keeps them on it"),
            (("ReadWriteOnce",), ("n1", None), "nothing keeps them on it"),
            (("ReadWriteOncePod",), ("n1", "n1"), "only one of them can run at a time"),
        ],
    )
    def test_several_pods_on_one_claim_are_warned_of(
        self, modes: tuple[str, ...], nodes: tuple[str | None, ...], what: str
    ) -> None:
        pods = tuple(MountingPod(f"agent-{number}", node) for number, node in enumerate(nodes))
        warning = sharing_warning(Observed(replace(CLAIM, access_modes=modes), None, pods))
        assert warning is not None
        assert what in warning
        assert "2 pods (agent-0, agent-1) mount the claim support-checkpoints" in warning

    @pytest.mark.parametrize(
        ("modes", "count"), [(("ReadWriteOnce",), 1), (("ReadWriteMany",), 2), (("ReadWriteOnce", "ReadWriteMany"), 2)]
    )
    def test_one_pod_or_a_shared_volume_is_well(self, modes: tuple[str, ...], count: int) -> None:
        pods = tuple(MountingPod(f"agent-{number}", f"n{number}") for number in range(count))
        assert sharing_warning(Observed(replace(CLAIM, access_modes=modes), None, pods)) is None


class TestRelease:
    def test_retain_keeps_the_claim_for_who_adopts_it(self) -> None:
        (action,) = plan_release(Observed(CLAIM), TARGET, delete=False).actions
        assert isinstance(action, MarkClaim)
        assert action.mark is not None
        assert action.mark.uid == ""
        assert Owner.from_claim(action.mark.text) == replace(OWNER, released=True)

    def test_delete_drops_the_claim(self) -> None:
        (action,) = plan_release(Observed(CLAIM), TARGET, delete=True).actions
        assert isinstance(action, DropClaim)
        assert action.destructive

    @pytest.mark.parametrize("delete", [False, True])
    def test_a_claim_that_the_operator_did_not_make_is_given_back(self, delete: bool) -> None:
        own = replace(USERS_OWN, mark=OWNER.claim(), marked_uid=OWNER.uid)
        (action,) = plan_release(Observed(own), EXISTING, delete=delete).actions
        assert isinstance(action, MarkClaim)
        assert action.mark is None
        assert "it and what is in it stay" in str(action)

    @pytest.mark.parametrize("delete", [False, True])
    @pytest.mark.parametrize(
        "claim",
        [
            None,
            replace(CLAIM, ending=True),
            replace(CLAIM, mark=OTHER.claim(), marked_uid="uid-2"),
            replace(CLAIM, mark=replace(OWNER, released=True).claim(), marked_uid=""),
            USERS_OWN,
        ],
    )
    def test_what_is_gone_or_somebody_elses_is_done(self, claim: VolumeClaim | None, delete: bool) -> None:
        assert not plan_release(Observed(claim), TARGET, delete=delete)
