"""Writes what a release offers to those without Helm: `python -m hack.manifests --output-dir dist`.

`locus-operator.yaml` is the chart with its default values, in the namespace `locus-system`, for Kubernetes 1.28 and
later; `crds.yaml` the CRDs alone. What Helm alone does is not in it: the guard before an uninstallation, and the test.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import yaml

from locus_operator.api.crd import crd_manifests, render

REPOSITORY = Path(__file__).resolve().parents[1]
NAMESPACE = "locus-system"
KUBERNETES = "1.28.0"
"""The oldest version whose API server knows everything that is in the CRDs' rules."""
# Nothing in the operator needs more than the restricted standard; the namespace holds it to that.
NAMESPACE_MANIFEST = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}


def main() -> None:
    """Write the files, and print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--image", default="", help="NAME@sha256:…; by default the chart's")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    files = {
        "locus-operator.yaml": operator(arguments.image),
        "crds.yaml": "---\n".join(render(manifest) for manifest in crd_manifests()),
    }
    for name, text in files.items():
        (arguments.output_dir / name).write_text(text)
        print(arguments.output_dir / name)


def operator(image: str) -> str:
    """Render the chart.

    Raises:
        SystemExit: The image is not named by its digest, or Helm refuses.
    """
    values: list[str] = []
    if image:
        found = re.fullmatch(r"(\S+)@(sha256:[0-9a-f]{64})", image)
        if found is None:
            sys.exit(f"manifests: {image}: name the image by its digest, as NAME@sha256:…")
        values = [f"--set-string=image.repository={found[1]}", f"--set-string=image.digest={found[2]}"]
    find = [sys.executable, str(REPOSITORY / "hack/helm")]
    helm = subprocess.run(find, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    place = (f"--namespace={NAMESPACE}", f"--kube-version={KUBERNETES}", "--no-hooks", "--skip-tests")
    command = [helm, "template", "locus-operator", str(REPOSITORY / "helm/locus-operator"), *place, *values]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit("manifests: helm refused, see above")
    return yaml.safe_dump(NAMESPACE_MANIFEST, sort_keys=False) + done.stdout


if __name__ == "__main__":
    main()
