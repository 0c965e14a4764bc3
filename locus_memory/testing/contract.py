"""The contract suite, put together."""

from __future__ import annotations

from locus_memory.testing.concurrency import ConcurrencyTests
from locus_memory.testing.identifiers import IdentifierTests
from locus_memory.testing.lifecycle import LifecycleTests, PersistenceTests
from locus_memory.testing.maintenance import CopyTests, VacuumTests
from locus_memory.testing.order import OrderTests
from locus_memory.testing.port import PortTests
from locus_memory.testing.queries import ListingTests, MetadataTests, SearchTests
from locus_memory.testing.states import StateTests
from locus_memory.testing.transfers import TransferTests


class CheckpointerContract(
    StateTests,
    IdentifierTests,
    OrderTests,
    ConcurrencyTests,
    ListingTests,
    MetadataTests,
    SearchTests,
    CopyTests,
    VacuumTests,
    LifecycleTests,
    PersistenceTests,
):
    """Every row of the checkpointer contract, as tests.

    Subclass it in a test module, with one fixture::

        class TestMyCheckpointer(CheckpointerContract):
            capabilities = CheckpointerCapabilities(list_threads=True)

            @pytest.fixture
            def checkpointer(self):
                return MyCheckpointer(...)

    Attributes:
        capabilities: What the checkpointer must declare. Tests of other capabilities are left out, and declaring
            anything else is a failure. None: what it declares is tested, and the rest is skipped.

    Fixtures to override:
        checkpointer: Fresh and empty for each test. The suite closes it.
        reopen: A function that opens the same data again, as another process would. Needed when
            `persistent_checkpoint_ids` is declared.
        factory: What users call to make the checkpointer; by default its class.
        secrets: Passwords that must not be seen in its representation.
    """


class StorageBackendContract(CheckpointerContract, PortTests, TransferTests):
    """The suite for a `StorageBackend` of your own: `checkpointer` is a `StorageBackendAdapter` on it."""
