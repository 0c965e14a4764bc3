"""`locus-operator check-installation`: what `helm test` asks, from within the cluster.

It looks at the cluster as the API server does: the webhook is found through its `MutatingWebhookConfiguration`, and
trusted with the `caBundle` that stands there.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio.client import AdmissionregistrationV1Api, ApiClient, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from locus_operator.constants import API_VERSION, CLASS_KIND, GROUP, STORE_KIND, VERSION
from locus_operator.listing import API_FAILURES, reason_of

_SECONDS: Final = 10.0
_HTTPS_PORT: Final = 443


class CheckFailedError(Exception):
    """Something is not as it should be; the message says what, and what to look at."""


async def check(client: ApiClient, webhook_configuration: str = "") -> AsyncIterator[str]:
    """Yield what is in order, one thing after the other.

    Args:
        client: The API server.
        webhook_configuration: Name of the `MutatingWebhookConfiguration`; empty where there is no webhook.

    Raises:
        CheckFailedError: The first thing that is not.
    """
    yield await _api(client)
    if not webhook_configuration:
        return
    for name, url, bundle in await _webhooks(client, webhook_configuration):
        yield await _ready(name, url, bundle)


async def _api(client: ApiClient) -> str:
    try:
        found = await CustomObjectsApi(client).get_api_resources(GROUP, VERSION)
    except API_FAILURES as error:
        raise CheckFailedError(f"the API {API_VERSION} is not served, are the CRDs there? {reason_of(error)}") from None
    kinds = {each.kind for each in found.resources or ()}
    if missing := {STORE_KIND, CLASS_KIND} - kinds:
        raise CheckFailedError(f"the API {API_VERSION} does not serve {', '.join(sorted(missing))}: install its CRD")
    return f"the API server serves {STORE_KIND} and {CLASS_KIND} of {API_VERSION}"


async def _webhooks(client: ApiClient, name: str) -> list[tuple[str, str, str]]:
    """Return name, URL of the readiness probe, and PEM certificates, of each webhook in a configuration."""
    what = f"the MutatingWebhookConfiguration {name}"
    try:
        found = await AdmissionregistrationV1Api(client).read_mutating_webhook_configuration(name)
    except ApiException as error:
        raise CheckFailedError(f"{what} cannot be read: {reason_of(error)}") from None
    webhooks = []
    for each in found.webhooks or ():
        bundle = each.client_config.ca_bundle
        if not bundle:
            raise CheckFailedError(f"{what} has no caBundle at {each.name}: nobody has written it yet")
        webhooks.append((each.name, _probe_of(each.client_config), _pem(bundle, f"{what} at {each.name}")))
    if not webhooks:
        raise CheckFailedError(f"{what} is empty")
    return webhooks


def _probe_of(config: Any) -> str:
    if config.url:
        return str(urlsplit(config.url)._replace(path="/readyz").geturl())
    service = config.service
    return f"https://{service.name}.{service.namespace}.svc:{service.port or _HTTPS_PORT}/readyz"


def _pem(bundle: str | bytes, what: str) -> str:
    try:
        return base64.b64decode(bundle, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise CheckFailedError(f"the caBundle of {what} holds no PEM certificates") from None


async def _ready(name: str, url: str, bundle: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, as the API server does
    try:
        context.load_verify_locations(cadata=bundle)
    except ssl.SSLError:
        raise CheckFailedError(f"the caBundle at {name} holds no PEM certificates") from None
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.get(url, ssl=context) as response,
        ):
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CheckFailedError(f"{name}: {url} does not answer: {str(error) or type(error).__name__}") from None
    if response.status != HTTPStatus.OK:
        raise CheckFailedError(f"{name}: {url} is not ready: {text[:200]}")
    return f"the webhook {name} is ready at {url}"
