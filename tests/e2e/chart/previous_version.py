"""The version before this one, out of git: its chart, and an image that runs its code. Knows nothing of pytest."""

import compileall
import io
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import yaml
from packaging.version import Version

from locus_memory import __version__
from tests.chart.helm import REPOSITORY
from tests.e2e.test_node.images import ImageRoot

BASELINE = "3bb060e99c9e31291f58f1d357f76ab0a172d6c6"
"""Stands in for the previous version until there is a tag: before it, no pod came up among Service links (3bb060e)."""
PARTS = ("helm", "operator", "locus_memory")


class NoHistoryError(RuntimeError):
    """This copy of the repository does not have the previous version."""


@dataclass(frozen=True)
class PreviousVersion:
    """The previous version's files.

    Attributes:
        revision: The tag or commit.
        tree: Where they are.
        version: What its chart calls itself.
    """

    revision: str
    tree: Path
    version: str

    @classmethod
    def extracted(cls, directory: Path) -> Self:
        """Write them into `directory`.

        Raises:
            NoHistoryError: They are not here; the message has the reason.
        """
        revision = _revision()
        archive = _git("archive", "--format=tar", revision, *PARTS)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(directory, filter="data")
        # Its pods run as somebody else, who would find this version's code instead where that is on the path, too.
        directory.chmod(0o755)
        # They cannot write there, and would all compile for themselves.
        compileall.compile_dir(directory, quiet=1)
        return cls(revision, directory, _lowered(directory / "helm" / "locus-operator" / "Chart.yaml"))

    @property
    def chart(self) -> Path:
        """Its chart."""
        return self.tree / "helm" / "locus-operator"

    @property
    def image_name(self) -> str:
        """The image that its chart names."""
        return f"{yaml.safe_load((self.chart / 'values.yaml').read_text())['image']['repository']}:{self.version}"

    def image(self, image: ImageRoot) -> ImageRoot:
        """`image` with the previous version's code in place of ours, and the packages that are installed today."""
        path = {"PYTHONPATH": f"{self.tree / 'operator'}:{self.tree}"}
        mounts = {str(self.tree): str(self.tree)}
        return replace(image, mounts={**image.mounts, **mounts}, env={**image.env, **path})


def _revision() -> str:
    """The newest tag that is older than this tree."""
    tags = [tag for tag in _git("tag", "--list", "v*").decode().split() if Version(tag) < Version(__version__)]
    return max(tags, key=Version, default=BASELINE)


def _git(*arguments: str) -> bytes:
    # In CI the files may belong to somebody else than who runs the tests.
    command = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", str(REPOSITORY), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise NoHistoryError("git is not installed") from None
    if run.returncode != 0:
        raise NoHistoryError(f"git {' '.join(arguments)}: {run.stderr.decode().strip()}")
    return run.stdout


def _lowered(path: Path) -> str:
    """Make the chart older than ours, if it is not: before the first release both have one version."""
    chart = yaml.safe_load(path.read_text())
    if Version(chart["version"]) >= Version(__version__):
        # A pre-release is older than its release. The image's name follows it.
        chart["version"] = chart["appVersion"] = f"{__version__}-rc.0"
        path.write_text(yaml.safe_dump(chart, sort_keys=False))
    return str(chart["version"])
