"""Requests to an OpenSearch cluster as one login, and what its refusals mean to the person who has to do something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from locus_memory.backends.opensearch_client import Client, is_unreached, is_untrusted
from locus_memory.backends.opensearch_errors import Refusal
from locus_memory.connection import OpenSearchConnection
from locus_memory.errors import BackendUnavailableError, BindingError
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError

TIMEOUT_SECONDS: Final = 10.0
"""Longest wait for the answer of one node."""

Body = Mapping[str, Any]


class Cluster:
    """A cluster; what one node does not answer is asked of the next.

    Args:
        connection: Its nodes and the login.
        login: Who that is, for messages.

    Raises:
        RefusedError: The login or the certificates cannot be used.
    """

    def __init__(self, connection: OpenSearchConnection, login: str) -> None:
        self.connection = connection
        self._login = login
        try:
            self.client = Client(connection)
        except BindingError as error:
            raise RefusedError(ConditionReason.SECRET_INVALID, f"{self.where}: {login}: {error}") from None

    @classmethod
    def as_administrator(cls, hosts: tuple[str, ...], user: str, password: str, ca: str | None, secret: str) -> Cluster:
        """Make the cluster that the operator works on; `secret` is the name of the administrator's Secret."""
        connection = OpenSearchConnection(
            hosts=hosts, username=user, password=SecretStr(password), ca=ca, tables="provisioned"
        )
        return cls(connection, f"the administrator {user!r} of Secret {secret!r}")

    @property
    def where(self) -> str:
        """The nodes, as messages name them."""
        return f"OpenSearch at {', '.join(self.connection.hosts)}"

    def choose_index(self, index: str) -> None:
        """Let `client` be one of this index; its connections serve all indexes of the cluster."""
        self.client.connection = self.connection.model_copy(update={"index_name": index})

    async def close(self) -> None:
        """Disconnect."""
        await self.client.close()

    async def ask(self, method: str, path: str, body: Body | None = None, **parameters: str) -> Body | Refusal:
        """Send a request; return the answer, or why the server refuses.

        A request that changes something is sent to another node only when the first one could not be reached.

        Raises:
            UnavailableError: No node answers.
            RefusedError: TLS fails.
        """
        content = None if body is None else json.dumps(body).encode()
        for left in reversed(range(len(self.connection.hosts))):
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    return await self.client.send(method, path, content, parameters)
            except TimeoutError:
                if not left or method != "GET":
                    raise UnavailableError(f"{self.where}: no answer within {TIMEOUT_SECONDS:g} seconds") from None
            except BindingError as error:
                raise RefusedError(ConditionReason.SECRET_INVALID, f"{self.where}: {error}") from None
            except BackendUnavailableError as error:
                if not left or not (method == "GET" or is_unreached(error)):
                    raise self._unavailable(error) from error
        raise AssertionError  # a cluster has nodes

    async def call(self, purpose: str, method: str, path: str, body: Body | None = None, **parameters: str) -> Body:
        """Send a request whose every refusal is an error.

        Args:
            purpose: What is being done, for the message.
            method: Of HTTP.
            path: Quoted.
            body: To be written as JSON.
            parameters: Of the query.
        """
        answer = await self.ask(method, path, body, **parameters)
        if isinstance(answer, Refusal):
            raise self.error(answer, purpose)
        return answer

    def error(self, refusal: Refusal, purpose: str) -> ProvisioningError:
        """Make the error to raise for a refusal."""
        text = f"{refusal.kind}: {refusal.reason}" if refusal.kind else _message(refusal.reason)
        where = f"{self.where}: cannot {purpose}"
        if refusal.status == 401:
            return RefusedError(
                ConditionReason.AUTHENTICATION_FAILED,
                f"{self.where}: the cluster rejects {self._login}: {text}. Correct user name and password in the "
                "Secret",
            )
        if refusal.kind == "cluster_block_exception":
            return UnavailableError(f"{where}: {text}. Is a disk of the cluster full, or the index read-only?")
        if refusal.status == 403:
            return RefusedError(ConditionReason.MISSING_PRIVILEGES, f"{where}: {self._login} lacks a privilege: {text}")
        if refusal.status == 429 or refusal.status >= 500:
            return UnavailableError(f"{where}: {refusal.status}: {text}")
        return RefusedError(ConditionReason.BACKEND_REFUSED, f"{where}: {text}")

    def _unavailable(self, error: BackendUnavailableError) -> ProvisioningError:
        text = str(getattr(error.__cause__, "error", "") or error)
        if is_untrusted(error):
            return RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.where}: no trusted TLS connection: {text}. Correct hosts and ca in spec.backend.opensearch",
            )
        return UnavailableError(f"{self.where}: {text}")


def _message(text: str) -> str:
    """Return the sentence of an answer of the security plugin, which has another form than the server's own."""
    try:
        found = json.loads(text)
        return str(found.get("message") or found.get("reason") or text)
    except (ValueError, AttributeError):
        return text
