"""`doctor`: find the binding, connect, write and read something, and say what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.documents import BindingFound, DoctorDocument, FindingDocument
from locus_memory.commands.exit_codes import ExitCode, exit_code_of
from locus_memory.commands.output import Output
from locus_memory.commands.probe import Probe
from locus_memory.commands.running import Calls, run
from locus_memory.commands.targets import find_target, places_looked_at
from locus_memory.diagnosis import Finding, Level
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    BindingNotFoundError,
    CheckpointError,
    MissingDriverError,
    SchemaError,
)

_STYLES: Final = {Level.OK: "green", Level.INFO: "", Level.WARNING: "yellow", Level.ERROR: "red"}

_REACH: Final = (
    "check from this machine that the address resolves and the port answers, that a network policy or firewall lets it "
    "through, and that the server runs"
)

# The first class that fits: code of the finding, and what to do.
_ERRORS: Final = (
    (BindingNotFoundError, "no-binding", "bind a store, or set LOCUS_CHECKPOINT_URL; the places looked at are above"),
    (BindingError, "bad-binding", "correct what the message names; what the operator wrote, in the CheckpointStore"),
    (MissingDriverError, "missing-driver", "install it in the image of the agent as well"),
    (BackendUnavailableError, "unreachable", _REACH),
    (AuthenticationError, "refused", "check the login in the binding, and what it is granted"),
    (SchemaError, "tables", "let the operator provision the store, or let a login that may create tables save once"),
)


@dataclass(slots=True)
class Report:
    """What was found, in the order in which it was looked for."""

    looked_at: Mapping[str, str]
    found: str | None = None
    kind: str | None = None
    backend: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, bool] | None = None
    latency_ms: dict[str, float] | None = None
    findings: list[Finding] = field(default_factory=list)
    failure: ExitCode = ExitCode.OK

    def add_error(self, error: CheckpointError) -> None:
        """Make an error a finding; the first one decides on the exit code."""
        code, advice = next(
            ((code, advice) for kind, code, advice in _ERRORS if isinstance(error, kind)), ("failed", "")
        )
        if all(finding.message != str(error) for finding in self.findings):
            self.findings.append(Finding(Level.ERROR, code, str(error), advice))
        self.failure = self.failure or exit_code_of(error)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """What the command ends with."""
        levels = {finding.level for finding in self.findings}
        if Level.ERROR in levels:
            return self.failure or ExitCode.FAILED
        return ExitCode.FAILED if strict and Level.WARNING in levels else ExitCode.OK


def doctor_command(
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 10,
    as_json: options.Json = False,
) -> None:
    """Check the store from here, as an agent would use it, and say what is wrong.

    It saves, loads and deletes a thread with a name that nobody else uses. Where tables are created on first use, that
    is now.
    """

    async def work(output: Output) -> None:
        report = Report(places_looked_at())
        try:
            target = find_target(store, url)
            report.found = target.origin
            report.kind = target.binding.connection().type
            checkpointer = target.open(timeout)
        except (BindingError, MissingDriverError) as error:
            report.add_error(error)
        else:
            async with checkpointer:
                await _examine(report, checkpointer, timeout)
        code = report.exit_code(strict=strict)
        if output.as_json:
            output.document(_documented(report, code))
        else:
            _show(output, report, code)
        if code:
            raise typer.Exit(code)

    run(work, as_json=as_json, arguments=(url,))


async def _examine(report: Report, checkpointer: StorageBackendAdapter, timeout: float) -> None:
    calls = Calls.on(checkpointer, timeout)
    report.backend = repr(checkpointer.storage)
    report.findings += _general_findings(checkpointer)
    try:
        await calls("look-up of capabilities", lambda storage: storage.discover())
        diagnosis = await calls("diagnosis", lambda storage: storage.diagnose())
        report.facts |= diagnosis.facts
        report.findings += diagnosis.findings
    except CheckpointError as error:
        report.add_error(error)
        if error.retryable:
            # It is away: asking for more would only take as long again.
            return
    try:
        report.capabilities = asdict(checkpointer.capabilities)
    except CheckpointError as error:
        report.add_error(error)
        return
    probe = Probe(checkpointer, calls)
    report.findings += await probe.run(report.add_error)
    report.latency_ms = probe.latency_ms


def _general_findings(checkpointer: StorageBackendAdapter) -> list[Finding]:
    if checkpointer.codec.encrypts:
        return [Finding(Level.OK, "encrypted", "states are encrypted before they leave the process")]
    return [
        Finding(
            Level.INFO,
            "not-encrypted",
            "states are stored as readable text: whoever may read the store reads the conversations",
            "put encryption_keys into the binding if the storage's own encryption is not enough",
        )
    ]


def _documented(report: Report, code: ExitCode) -> DoctorDocument:
    return DoctorDocument(
        ok=code is ExitCode.OK,
        exit_code=code,
        binding=BindingFound(found=report.found, type=report.kind, looked_at=dict(report.looked_at)),
        backend=report.backend,
        facts=report.facts,
        capabilities=report.capabilities,
        latency_ms=report.latency_ms,
        findings=[FindingDocument(**asdict(finding)) for finding in report.findings],
    )


def _show(output: Output, report: Report, code: ExitCode) -> None:
    output.line("Binding", style="bold")
    output.facts({**report.looked_at, "used": report.found or "nothing found"})
    if report.backend:
        output.line("Backend", style="bold")
        facts = {"backend": report.backend, **report.facts}
        if report.capabilities is not None:
            facts["can"] = [name for name, has in report.capabilities.items() if has]
        output.facts(facts)
    if report.latency_ms:
        output.line("Latency, median", style="bold")
        output.facts({name: f"{milliseconds:.2f} ms" for name, milliseconds in report.latency_ms.items()})
    output.line("Findings", style="bold")
    order = list(Level)
    for finding in sorted(report.findings, key=lambda finding: order.index(finding.level), reverse=True):
        output.line(f"  {finding.level.upper():<7}  {finding.message}", style=_STYLES[finding.level])
        if finding.advice:
            output.line(f"           -> {finding.advice}")
    output.line("the store works" if code is ExitCode.OK else "the store does NOT work as it should", style="bold")
