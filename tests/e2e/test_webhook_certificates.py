"""Certificates that the controller keeps for the webhook: no admission fails, whatever is renewed, lost or edited."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from locus_operator.certificates import authorities_in
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import NAMESPACE, Controller
from tests.e2e.webhook_site import CONFIGURATION, SECRET, Site, until

EXPIRY = "locus_operator_webhook_certificate_expiry_timestamp_seconds"
VALIDITY = 30.0
"""Seconds. A new certificate is served from 20 to 26 seconds after the one before; that one ends at 30."""
LONGER = 100.0
"""None of these is renewed during a test; the controller looks every 5 seconds, and API servers have as many."""


@pytest.fixture
async def site(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Site]:
    async with Site.running(control_plane, tmp_path) as running:
        yield running


@asynccontextmanager
async def controlled(site: Site, validity: float | None) -> AsyncIterator[Controller]:
    controller = site.controller(validity)
    try:
        await asyncio.to_thread(controller.start)
        yield controller
    finally:
        await asyncio.to_thread(controller.stop)


async def answers(site: Site) -> list[tuple[int, str]]:
    """What the webhooks answer to readiness probes; status 0 of one that does not listen."""
    return [await asyncio.to_thread(each.readiness) for each in site.replicas]


async def until_ready(site: Site) -> None:
    async def ready() -> bool:
        return {status for status, _ in await answers(site)} == {200}

    await until(ready, "both webhooks are ready")


async def is_made(site: Site) -> bool:
    return await site.secret() is not None


async def found(site: Site) -> dict[str, str]:
    secret = await site.secret()
    assert secret is not None
    return secret


async def test_renewals_fail_no_admission(site: Site, namespace: str) -> None:
    seen: list[dict[str, str]] = []

    async def renewed_twice() -> bool:
        secret = await found(site)
        if secret["tls.crt"] not in [each["tls.crt"] for each in seen]:
            seen.append(secret)
            assert set(authorities_in(secret["ca.crt"])) <= await site.trusted(), "the API server has trusted it before"
        return len(seen) == 3

    async with site.serving(), controlled(site, VALIDITY) as controller:
        await until_ready(site)
        async with site.admitting(namespace) as admissions:
            await until(renewed_twice, "two renewals", timeout=3 * VALIDITY)
            first, second, third = (authorities_in(each["ca.crt"]) for each in seen)
            await until(lambda: is_forgotten(site, first[0]), "the first CA is not trusted any more")
        metrics, log = controller.metrics(), controller.log.read_text()

    assert (admissions.failures, admissions.not_injected) == ([], [])
    assert admissions.created > 100
    assert (len(second), len(third)) == (2, 2)
    assert (second[1], third[1]) == (first[0], second[0]), "the CA before is trusted beside the new one"
    last = x509.load_pem_x509_certificate(seen[-1]["tls.crt"].encode())
    assert metrics[EXPIRY] == last.not_valid_after_utc.timestamp()
    assert "PRIVATE KEY" not in log


async def is_forgotten(site: Site, authority: x509.Certificate) -> bool:
    return authority not in await site.trusted()


async def test_a_lost_secret_and_a_controller_that_dies_while_it_makes_another_fail_no_admission(
    site: Site, namespace: str
) -> None:
    async def a_new_one_is_trusted() -> bool:
        return len(await site.trusted()) == 2

    async with site.serving(), controlled(site, LONGER) as first:
        await until_ready(site)
        async with site.admitting(namespace) as admissions:
            before, trusted = await found(site), await site.trusted()
            delete_secret(site)
            await until(a_new_one_is_trusted, "a new CA is trusted")
            await asyncio.to_thread(first.kill)
            assert not await is_made(site), "the controller has waited for the API servers"

            async with controlled(site, LONGER):
                await until(lambda: is_made(site), "a new Secret")
                after = await found(site)
                await until(lambda: is_mounted(site, after["tls.crt"]), "both webhooks have it")
                await asyncio.sleep(1)

    assert (admissions.failures, admissions.not_injected) == ([], [])
    assert admissions.created > 20
    assert after["tls.crt"] != before["tls.crt"]
    assert trusted < set(authorities_in(after["ca.crt"]))


async def is_mounted(site: Site, certificate: str) -> bool:
    return all((each.directory / "tls" / "tls.crt").read_text() == certificate for each in site.replicas)


async def test_a_webhook_waits_for_its_certificate_and_says_so(site: Site) -> None:
    async def all_answer() -> bool:
        return {status for status, _ in await answers(site)} == {503}

    async with site.serving():
        await until(all_answer, "the webhooks answer probes")
        for replica, (_, text) in zip(site.replicas, await answers(site), strict=True):
            volume = replica.directory / "tls"
            assert text == f"waiting for the webhook's certificate: there is no {volume}/tls.crt, no {volume}/tls.key"


async def test_without_its_settings_the_controller_keeps_nothing(site: Site) -> None:
    async with controlled(site, None) as controller:

        async def is_working() -> bool:
            return "controller is starting" in controller.log.read_text()

        await until(is_working, "it works")
        await asyncio.sleep(1)

        assert not await is_made(site)
        assert await site.bundles() == ["", ""]
        assert controller.metrics()[EXPIRY] == 0
        assert "certificate" not in controller.log.read_text()


async def test_a_ca_bundle_that_somebody_edits_is_corrected(site: Site) -> None:
    async def is_written() -> bool:
        secret = await site.secret()
        return secret is not None and await site.bundles() == [secret["ca.crt"]] * 2

    foreign = base64.b64encode(site.control_plane.authority.pair.certificate.read_bytes()).decode()
    patch = [
        {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"},
        {"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": foreign},
    ]
    async with controlled(site, VALIDITY):
        await until(is_written, "caBundle is written")

        site.control_plane.kubectl(
            "patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type=json", f"--patch={json.dumps(patch)}"
        )
        assert not await is_written()

        await until(is_written, "caBundle is corrected", timeout=10)


async def test_a_secret_of_somebody_else_is_left_alone_and_told_once(site: Site) -> None:
    theirs = {"tls.crt": "their certificate", "tls.key": "their key"}
    metadata = {"namespace": NAMESPACE, "name": SECRET}
    site.control_plane.apply(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "stringData": theirs}
    )
    told = f"Secret {NAMESPACE}/{SECRET} is not of the operator's making"
    async with controlled(site, VALIDITY) as controller:

        async def is_told() -> bool:
            return told in controller.log.read_text()

        await until(is_told, "the log tells")
        await asyncio.sleep(3 * VALIDITY / 20)

        secret = await found(site)
        assert {name: secret[name] for name in theirs} == theirs
        assert await site.bundles() == ["", ""]
        assert controller.log.read_text().count(told) == 1
        assert "their key" not in controller.log.read_text()

        delete_secret(site)
        await until(lambda: is_made(site), "a Secret of its own")


def delete_secret(site: Site) -> None:
    site.control_plane.kubectl("delete", "secret", SECRET, f"--namespace={NAMESPACE}")
