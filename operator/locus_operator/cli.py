"""`locus-operator`: the operator's processes, and the same engine without a cluster."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from locus_operator import engine, plan_text
from locus_operator.api import CheckpointStore, InvalidSpecError
from locus_operator.api import crd as crd_module
from locus_operator.api.status import ConditionStatus
from locus_operator.engine import Reconciled, Retry, StoreRequest
from locus_operator.errors import ProvisioningError
from locus_operator.manifests import ManifestError, Manifests, read_manifests
from locus_operator.provisioner import Action
from locus_operator.settings import InvalidSettingsError

_SECRET_ENTRIES: Final = ("password", "uri", "connection.json")


class ExitCode(IntEnum):
    """What the process ends with. Bad usage of the command line itself is 2 as well."""

    OK = 0
    UNEXPECTED = 1
    INVALID = 2
    REFUSED = 3
    UNAVAILABLE = 4


_EXIT_CODES: Final = {
    Retry.ON_CHANGE: ExitCode.INVALID,
    Retry.SLOWLY: ExitCode.REFUSED,
    Retry.SOON: ExitCode.UNAVAILABLE,
}
_CODES_HELP: Final = (
    "Exit codes: 0 done; 1 unexpected error; 2 the input is wrong or not supported; 3 the backend refuses, or a "
    "Secret or class is missing; 4 the backend is away."
)

_REFUSED: Final = "note: lines with ! may destroy data: apply refuses them without --allow-destructive"

app = typer.Typer(
    name="locus-operator",
    help="Provisions storage for the checkpoints of AI agents.",
    no_args_is_help=True,
    # Tracebacks with local variables would show passwords.
    pretty_exceptions_enable=False,
    add_completion=False,
)

File = Annotated[
    list[Path],
    typer.Option("-f", "--filename", help="YAML with CheckpointStores and what they refer to; - reads standard input."),
]
Secrets = Annotated[list[Path] | None, typer.Option(help="More YAML, such as the Secrets that the stores refer to.")]
Cluster = Annotated[str, typer.Option(help="Name that stands for the cluster in the claims on the backend.")]
BindingDir = Annotated[
    Path | None,
    typer.Option(help="Bindings as files, one directory a store: what SERVICE_BINDING_ROOT of an agent points to."),
]
VolumeDir = Annotated[
    Path | None,
    typer.Option(help="Directory in place of PersistentVolumeClaims, for stores of files: <dir>/<namespace>/<claim>."),
]


@app.command(help="Print the CRDs, or write them to a directory.")
def crds(
    output_dir: Annotated[Path | None, typer.Option(help="Write one file a CRD here instead of printing.")] = None,
    cel: Annotated[bool, typer.Option("--cel/--no-cel", help="With CEL rules (Kubernetes 1.25 or newer).")] = True,
) -> None:
    """Generate the CRDs from the API models."""
    if output_dir is None:
        typer.echo(
            "---\n".join(crd_module.render(manifest) for manifest in crd_module.crd_manifests(cel=cel)), nl=False
        )
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    for path in crd_module.write(output_dir, cel=cel):
        typer.echo(path)


@app.command(help=f"Show what apply would do on the backend, changing nothing. {_CODES_HELP}")
def plan(
    filename: File,
    secrets: Secrets = None,
    cluster: Cluster = "local",
    binding_dir: BindingDir = None,
    volume_dir: VolumeDir = None,
) -> None:
    """Plan each store of the files."""

    async def show(store: CheckpointStore, request: StoreRequest) -> None:
        found = await engine.plan(request)
        typer.echo(f"{_title(store, request)}\n{plan_text.text(found)}")
        if any(action.destructive for action in found.actions):
            typer.echo(_REFUSED, err=True)

    _each_store(show, filename, secrets, cluster, binding_dir, volume_dir, allow_destructive=True)


@app.command(
    name="apply",
    help="Provision the stores on their backends and write their bindings. Run it again to correct drift; with the "
    f"same --binding-dir the password stays the same. {_CODES_HELP}",
)
def apply_stores(
    filename: File,
    secrets: Secrets = None,
    cluster: Cluster = "local",
    binding_dir: BindingDir = None,
    volume_dir: VolumeDir = None,
    show_binding: Annotated[bool, typer.Option("--show-binding", help="Print the password, too.")] = False,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Go on where correcting the backend destroys data.")
    ] = False,
) -> None:
    """Reconcile each store of the files."""

    async def reconcile(store: CheckpointStore, request: StoreRequest) -> None:
        typer.echo(_title(store, request))
        done = await engine.reconcile(request, progress=_print_action)
        if not done.plan:
            typer.echo(plan_text.summary(done.plan))
        _report(store, done, binding_dir, show_binding=show_binding)

    _each_store(reconcile, filename, secrets, cluster, binding_dir, volume_dir, allow_destructive=allow_destructive)


@app.command(
    help="Take the stores off their backends, as `kubectl delete` does: logins go, and with deletionPolicy: Delete the "
    f"data as well. {_CODES_HELP}",
)
def delete(
    filename: File,
    secrets: Secrets = None,
    cluster: Cluster = "local",
    binding_dir: BindingDir = None,
    volume_dir: VolumeDir = None,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Delete the data of stores with deletionPolicy: Delete.")
    ] = False,
) -> None:
    """Release each store of the files."""

    async def release(store: CheckpointStore, request: StoreRequest) -> None:
        typer.echo(_title(store, request))
        done = await engine.release(request, progress=_print_action)
        if not done.plan:
            typer.echo(plan_text.summary(done.plan))
        if binding_dir is not None:
            shutil.rmtree(binding_dir / store.metadata.name, ignore_errors=True)

    _each_store(release, filename, secrets, cluster, binding_dir, volume_dir, allow_destructive=allow_destructive)


@app.command(help="Run the controller; settings come from the environment.")
def controller() -> None:
    """Run the kopf controller."""
    from locus_operator.controller.command import run

    run()


@app.command(help="Serve the admission webhook; settings come from the environment.")
def webhook() -> None:
    """Run the webhook."""
    from locus_operator.webhook.command import run

    run()


@app.command(
    help="Tell which stores have deletionPolicy Delete and would be left behind by an uninstallation; exit with 3 if "
    "there are any. Helm runs it before it uninstalls the chart."
)
def guard_uninstall(
    every: Annotated[bool, typer.Option("--every", help="Whatever their policy: the CRDs go, too.")] = False,
) -> None:
    """Refuse where stores could not be deleted any more."""
    from locus_operator import installation_commands

    raise typer.Exit(installation_commands.guard_uninstall(every=every))


@app.command(help="Look whether the cluster has the API, and a webhook that is ready. `helm test` runs it in a pod.")
def check_installation(
    webhook_configuration: Annotated[
        str, typer.Option(help="Name of the MutatingWebhookConfiguration; without, no webhook is looked for.")
    ] = "",
) -> None:
    """Check API and webhook."""
    from locus_operator import installation_commands

    raise typer.Exit(installation_commands.check_installation(webhook_configuration))


def main() -> None:
    """Entry point of `locus-operator`."""
    try:
        app()
    except InvalidSettingsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(ExitCode.INVALID)


def _each_store(
    work: Callable[[CheckpointStore, StoreRequest], Coroutine[Any, Any, None]],
    files: list[Path],
    secrets: list[Path] | None,
    cluster: str,
    binding_dir: Path | None,
    volume_dir: Path | None,
    *,
    allow_destructive: bool,
) -> None:
    """Do the work for all stores, one failing or not; end with the worst of their exit codes."""
    manifests = _read([*files, *(secrets or [])])
    worst = ExitCode.OK
    for store in manifests.stores:
        with _reporting(f"CheckpointStore {store.metadata.name}") as codes:
            existing = _read_binding(binding_dir, store)
            request = manifests.request(
                store, cluster, existing, volume_dir=volume_dir, allow_destructive=allow_destructive
            )
            asyncio.run(work(store, request))
        worst = max(worst, *codes, ExitCode.OK)
    if worst:
        raise typer.Exit(worst)


def _read(files: list[Path]) -> Manifests:
    with _reporting("input") as codes:
        texts = [sys.stdin.read() if str(file) == "-" else file.read_text() for file in files]
        manifests = read_manifests(texts)
        if not manifests.stores:
            raise ManifestError("there is no CheckpointStore in it")
    if codes:
        raise typer.Exit(max(codes))
    return manifests


@contextmanager
def _reporting(subject: str) -> Iterator[list[ExitCode]]:
    """Print an error for people; its exit code is in the list afterwards."""
    codes: list[ExitCode] = []
    try:
        yield codes
    except (ManifestError, OSError) as error:
        codes.append(ExitCode.INVALID)
        typer.echo(f"error: {subject}: {error}", err=True)
    except (ProvisioningError, InvalidSpecError) as error:
        found = engine.failure(error)
        codes.append(_EXIT_CODES[found.retry])
        typer.echo(f"error: {subject}: {found.reason}: {found.message}", err=True)


def _print_action(_: int, action: Action) -> None:
    typer.echo(plan_text.line(action))


def _title(store: CheckpointStore, request: StoreRequest) -> str:
    kind = request.spec.backend.kind if request.spec.backend else "?"
    return f"CheckpointStore {request.owner.namespace}/{store.metadata.name} on {kind}"


def _report(store: CheckpointStore, done: Reconciled, binding_dir: Path | None, *, show_binding: bool) -> None:
    for condition in done.conditions:
        if condition.status is not ConditionStatus.TRUE or "not acted on" in condition.message:
            typer.echo(f"note: {condition.type}={condition.status}: {condition.message}", err=True)
    if binding_dir is not None:
        directory = binding_dir / store.metadata.name
        _write_binding(directory, done)
        typer.echo(f"binding: {directory}")
    if show_binding or binding_dir is None:
        for key, value in done.binding.data.items():
            typer.echo(f"  {key}: {value if show_binding or key not in _SECRET_ENTRIES else '(hidden)'}")
    if binding_dir is None and not show_binding and "password" in done.binding.data:
        typer.echo(
            "note: the password is new and was written nowhere; run it again with --binding-dir, or --show-binding",
            err=True,
        )


def _read_binding(binding_dir: Path | None, store: CheckpointStore) -> dict[str, str] | None:
    if binding_dir is None or not (directory := binding_dir / store.metadata.name).is_dir():
        return None
    return {file.name: file.read_text() for file in directory.iterdir() if file.is_file()}


def _write_binding(directory: Path, done: Reconciled) -> None:
    """Replace each file atomically, readable by its owner alone; an agent may be reading them."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for key, value in done.binding.data.items():
        descriptor, name = tempfile.mkstemp(dir=directory, prefix=".")  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
        Path(name).replace(directory / key)
    for stale in directory.iterdir():
        if stale.name not in done.binding.data:
            stale.unlink()


if __name__ == "__main__":
    main()
