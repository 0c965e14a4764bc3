"""Builds the images without a Docker engine and looks at what came out: `make image-check`.

Needs root and Debian's packages buildah and debootstrap. A Debian 12 from debootstrap stands in for the base image,
which is on a registry that not every machine reaches; set BASE to use one that buildah can pull. Not checked here: an
engine's own isolation (the programs run in a chroot), other architectures, and python:3.11-slim itself.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locus_memory._version import __version__
from locus_operator.api.crd import crd_manifests, render
from tests.e2e.control_plane import HOST, ControlPlane, free_ports
from tests.e2e.operator_process import NAMESPACE, SERVICE_ACCOUNT, WEBHOOK_ACCOUNT, install
from tests.image.dockerfile import Dockerfile
from tests.servers.processes import Child

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "locus-memory" / "image-check"
STAND_IN = "localhost/stand-in:bookworm"
IMAGE = "localhost/locus-operator:check"
DOCKERFILE = "Dockerfile"
AGENT_IMAGE = "localhost/locus-agent:check"
AGENT_DOCKERFILE = "examples/agent/Dockerfile"
EPOCH = "1700000000"
SOMEBODY = 12345
MOST_MEGABYTES = 330
"""Of /opt/locus: 288 when this was written."""

# Nothing can be written but in /tmp, which the chart makes a volume. In the end this process is the program itself.
READ_ONLY = """
set -e
root=$1; tmp=$2; uid=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$tmp" "$root/tmp"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$uid:$uid" "$root" "$@"
"""


def main() -> None:
    """Build twice, compare, look, run."""
    if os.geteuid() != 0:
        sys.exit("image-check: needs root, for a chroot and for mount namespaces")
    need("buildah")
    base = os.environ.get("BASE") or stand_in()
    with tempfile.TemporaryDirectory(prefix="image-check-") as directory:
        context, work = Path(directory) / "context", Path(directory) / "work"
        work.mkdir()
        work.chmod(0o777)
        copy_context(context)
        with built(base, context) as first, built(base, context) as second:
            same_files(first, second)
            small(first)
            configured()
            answers(first, work)
            serves(first, work)
        with built(base, context, AGENT_DOCKERFILE, AGENT_IMAGE) as root:
            remembers(root, work)
    print("image-check: passed")


def need(program: str) -> None:
    """End where a program is missing, which Debian has in a package of its name."""
    if shutil.which(program) is None:
        sys.exit(f"image-check: no {program}: apt-get install --no-install-recommends {program}")


def buildah(*arguments: str, show: bool = False) -> str:
    """Run buildah on storage of our own; layers are copies, which works everywhere."""
    storage = ("--storage-driver=vfs", f"--root={CACHE}/storage", f"--runroot={CACHE}/run")
    done = subprocess.run(
        ["buildah", *storage, *arguments],
        stdout=None if show else subprocess.PIPE,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    if done.returncode != 0:
        sys.exit(f"image-check: buildah {arguments[0]} failed, see above")
    return "" if show else done.stdout.strip()


def stand_in() -> str:
    """Make the image that stands in for the base, once; later builds find it."""
    if STAND_IN in buildah("images", "--format={{.Name}}:{{.Tag}}").splitlines():
        return STAND_IN
    need("debootstrap")
    step("a Debian 12 with Python, with debootstrap")
    sources = "\n".join(file.read_text() for file in Path("/etc/apt").glob("sources.list*/**/*.sources"))
    mirror = re.findall(r"^URIs:\s*(\S+)", sources, re.MULTILINE)[:1]
    with tempfile.TemporaryDirectory(prefix="image-base-", dir=CACHE) as directory:
        root = Path(directory) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates"]
        log = CACHE / "debootstrap.log"
        with log.open("wb") as output:
            done = subprocess.run([*command, "bookworm", str(root), *mirror], stdout=output, stderr=output, check=False)
        if done.returncode != 0:
            sys.exit(f"image-check: debootstrap failed: {log}")
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, str(root), "/")
        buildah("commit", "--quiet", "--rm", container, STAND_IN)
    return STAND_IN


def copy_context(target: Path) -> None:
    """Copy what the Dockerfiles copy, so that all builds get the same while somebody goes on working."""
    dockerfiles = (DOCKERFILE, AGENT_DOCKERFILE)
    copied = {each for name in dockerfiles for each in Dockerfile.read(REPOSITORY / name).copied()}
    for name in (".dockerignore", *dockerfiles, *sorted(copied)):
        source = REPOSITORY / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target / name) if source.is_dir() else shutil.copy2(source, target / name)


@contextmanager
def built(base: str, context: Path, dockerfile: str = DOCKERFILE, tag: str = IMAGE) -> Iterator[Path]:
    """Build an image anew; gives a container's file system."""
    step(f"building {dockerfile} on {base}")
    arguments = {"BASE": base}
    if dockerfile == DOCKERFILE:
        arguments |= {"SOURCE_DATE_EPOCH": EPOCH, "VERSION": __version__, "REVISION": "0" * 40}
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    # The machine's own way to its registry of Python packages, if it has one, and the certificates for it.
    if Path("/etc/pip.conf").exists():
        options.append("--secret=id=pip.conf,src=/etc/pip.conf")
    if Path("/etc/ssl/certs").exists():
        options.append("--volume=/etc/ssl/certs:/etc/ssl/certs:ro")
    # The format that knows health checks.
    image = buildah(
        "bud",
        "--isolation=chroot",
        "--format=docker",
        "--no-cache",
        "--quiet",
        *options,
        f"--file={context / dockerfile}",
        f"--tag={tag}",
        str(context),
    )
    container = buildah("from", tag)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)
        buildah("rmi", "--force", image)  # a copy of everything, each time


def same_files(first: Path, second: Path) -> None:
    """Of the same commit come the same files."""
    step("the same files from two builds")
    one, other = files(first / "opt/locus"), files(second / "opt/locus")
    differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    if differ:
        sys.exit(f"image-check: {len(differ)} of {len(one)} files differ between two builds: {', '.join(differ[:10])}")


def files(root: Path) -> dict[str, tuple[str, int, int]]:
    """Content, mode and time of every file."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(root))] = (content, status.st_mode, int(status.st_mtime))
    return found


def small(root: Path) -> None:
    """It stays as small as it is; and there is nothing to compile or install with."""
    used = subprocess.run(["du", "-sm", str(root / "opt/locus")], capture_output=True, text=True, check=True).stdout
    megabytes = int(used.split()[0])
    step(f"/opt/locus has {megabytes} MB")
    if megabytes > MOST_MEGABYTES:
        sys.exit(f"image-check: more than {MOST_MEGABYTES} MB: what has grown?")
    for program in ("pip", "pip3", "gcc", "cc", "curl", "wget"):
        if any((root / place / program).exists() for place in ("opt/locus/bin", "usr/local/bin", "usr/bin")):
            sys.exit(f"image-check: {program} is in the image")


def configuration(image: str) -> dict[str, Any]:
    """What an image says of itself."""
    found: dict[str, Any] = json.loads(buildah("inspect", "--type=image", image))["Docker"]["config"]
    return found


def configured() -> None:
    """The image says who it is."""
    step("configuration and labels")
    config = configuration(IMAGE)
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    expected = {
        "user": (config["User"], "65532:65532"),
        "entry point": (config["Entrypoint"], ["locus-operator"]),
        "health check": (config["Healthcheck"]["Test"][:2], ["CMD", "python"]),
        "version": (labels["version"], __version__),
        "revision": (labels["revision"], "0" * 40),
        "licence": (labels["licenses"], "Apache-2.0"),
    }
    if wrong := {name: found for name, (found, right) in expected.items() if found != right}:
        sys.exit(f"image-check: not as it should be: {wrong}")


def command(root: Path, work: Path, *arguments: str, image: str = IMAGE, **env: str) -> list[str]:
    """The command line that runs a program in the image: read-only, as a user that nobody knows."""
    environment = [*configuration(image)["Env"], *(f"{name}={value}" for name, value in env.items())]
    prefix = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(root), str(work), str(SOMEBODY)]
    return [*prefix, "env", "--ignore-environment", *environment, *arguments]


def answers(root: Path, work: Path) -> None:
    """Its commands work, and it knows its API and its parts."""
    step("its commands, as a user that nobody knows, on a read-only root")
    done = subprocess.run(command(root, work, "locus-operator", "crds"), capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout != "---\n".join(map(render, crd_manifests())):
        sys.exit(f"image-check: locus-operator crds gave {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    sbom = json.loads((root / "opt/locus/share/sbom.cdx.json").read_text())
    kinds = {each["purl"].partition("/")[0] for each in sbom["components"]}
    if kinds != {"pkg:pypi", "pkg:deb", "pkg:generic"}:
        sys.exit(f"image-check: the SBOM lists {sorted(kinds)} only")
    touched = subprocess.run(command(root, work, "sh", "-c", "touch /opt/locus/x /x"), capture_output=True, check=False)
    if touched.returncode == 0:
        sys.exit("image-check: the root could be written to, so nothing was shown")


def serves(root: Path, work: Path) -> None:
    """Controller and webhook become healthy against a real API server, and end when they are asked to."""
    with ControlPlane(work / "control-plane") as control_plane:
        install(control_plane)
        pair = control_plane.authority.issue_server("image")
        for name, path in {"tls.crt": pair.certificate, "tls.key": pair.key}.items():
            shutil.copy(path, work / name)
            (work / name).chmod(0o644)
        for part, account in {"controller": SERVICE_ACCOUNT, "webhook": WEBHOOK_ACCOUNT}.items():
            step(f"{part} against Kubernetes {'.'.join(map(str, control_plane.version))}")
            serve(part, control_plane, kubeconfig(control_plane, account, work), root, work)


def remembers(root: Path, work: Path) -> None:
    """The agent's image answers from what another run of it was told, and has the command line for people on call."""
    step("the agent, in two runs")
    place = "/app"
    if configuration(AGENT_IMAGE)["WorkingDir"] != place:
        sys.exit(f"image-check: the agent's image does not work in {place}")

    def run(*arguments: str, **env: str) -> str:
        within = command(root, work, "env", f"--chdir={place}", *arguments, image=AGENT_IMAGE, **env)
        done = subprocess.run(within, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"image-check: {arguments} gave {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return done.stdout

    store = {"LOCUS_CHECKPOINT_URL": "file:///tmp/conversations", "THREAD_ID": "trip"}
    run("python", "ask.py", MESSAGE="I'm planning a trip to Tokyo.", **store)
    answer = run("python", "ask.py", MESSAGE="What were we discussing?", **store)
    threads = run("locus-memory", "threads", **store)
    if not answer.startswith("Your trip to Tokyo.") or threads != "trip\n":
        sys.exit(f"image-check: the agent has forgotten: {answer}{threads}")


def kubeconfig(control_plane: ControlPlane, account: str, work: Path) -> str:
    """Put a kubeconfig where the image sees it; returns its path there."""
    own = control_plane.kubeconfig_for_service_account(account, NAMESPACE)
    authority = control_plane.authority.pair.certificate
    shutil.copy(authority, work / "ca.crt")
    (work / "ca.crt").chmod(0o644)
    (work / f"{account}.kubeconfig").write_text(own.read_text().replace(str(authority), "/tmp/ca.crt"))
    (work / f"{account}.kubeconfig").chmod(0o644)
    return f"/tmp/{account}.kubeconfig"


def serve(part: str, control_plane: ControlPlane, config: str, root: Path, work: Path) -> None:
    """Run one of the two until the image's own health check is content, then end it."""
    health, webhook_health, https = free_ports(3)
    settings = {
        "namespace": NAMESPACE,
        "health_host": HOST,
        "health_port": health,
        "webhook_health_port": webhook_health,
        "webhook_host": HOST,
        "webhook_port": https,
        "webhook_certificate": "/tmp/tls.crt",
        "webhook_key": "/tmp/tls.key",
    }
    env = {f"LOCUS_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()} | {"KUBECONFIG": config}
    asks = command(root, work, "python", "-m", "locus_operator.health_check", **env)
    runs = command(root, work, "locus-operator", part, **env)
    child = Child(part, runs, log=control_plane.log_directory / f"{part}.log")
    try:
        child.wait_until_ready(
            lambda: subprocess.run(asks, check=False, capture_output=True).returncode == 0, timeout=60
        )
    finally:
        child.stop()
    if child.exit_code != 0:
        sys.exit(f"image-check: {part} ended with {child.exit_code} after SIGTERM:\n{child.log_tail()}")


def step(text: str) -> None:
    """Say what comes."""
    print(f"==> {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    main()
