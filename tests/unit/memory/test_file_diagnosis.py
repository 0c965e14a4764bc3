"""What the mounts of a machine say about a directory."""

from pathlib import Path

import pytest

from locus_memory.backends.file_diagnosis import mount_findings, mount_of

MOUNTS = r"""
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/l
23 22 0:21 / /dev/shm rw - tmpfs shm rw
24 22 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/data /data rw - ext4 /dev/sda1 rw
25 22 8:2 / /claim rw,relatime shared:7 - ext4 /dev/sdb rw
26 22 0:30 / /claim/with\040space rw master:1 - nfs4 server:/export rw
27 22 8:3 / /late rw - tmpfs tmpfs rw
28 22 8:3 / /late rw - xfs /dev/sdc rw
damaged line
"""


@pytest.mark.parametrize(
    ("path", "code", "hint"),
    [
        ("/app/threads", "ephemeral-file-system", "own layer"),
        ("/dev/shm/threads", "ephemeral-file-system", "in memory"),
        ("/data", "ephemeral-file-system", "emptyDir"),
        ("/claim/with space/x", "network-file-system", "nfs4"),
    ],
)
def test_what_does_not_last_is_found(path: str, code: str, hint: str) -> None:
    [finding] = mount_findings(Path(path), mount_of(Path(path), MOUNTS))
    assert finding.code == code
    assert hint in finding.message
    assert finding.advice


@pytest.mark.parametrize("path", ["/claim", "/claim/threads", "/claim/withspace", "/late/threads"])
def test_a_volume_is_fine(path: str) -> None:
    assert mount_findings(Path(path), mount_of(Path(path), MOUNTS)) == []


def test_a_name_that_only_begins_alike_is_another_directory() -> None:
    mount = mount_of(Path("/database"), MOUNTS)
    assert mount is not None
    assert mount.point == "/"


def test_a_system_without_such_a_list_gives_no_finding() -> None:
    assert mount_findings(Path("/x"), mount_of(Path("/x"), "")) == []
