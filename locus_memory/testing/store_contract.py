"""The contract suite of cross-thread stores, put together."""

from __future__ import annotations

from locus_memory.testing.store_items import ConcurrencyTests, ListingTests, NamespaceTests, ValueTests
from locus_memory.testing.store_lifecycle import ExpiryTests, StoreLifecycleTests, StorePersistenceTests
from locus_memory.testing.store_searches import EmbeddingTests, FilterTests, SearchTests


class StoreContract(
    ValueTests,
    NamespaceTests,
    ListingTests,
    ConcurrencyTests,
    SearchTests,
    FilterTests,
    EmbeddingTests,
    ExpiryTests,
    StoreLifecycleTests,
    StorePersistenceTests,
):
    """Every promise of `locus_memory.store.BaseStore`, as tests.

    Subclass it in a test module, with one fixture::

        class TestMyStore(StoreContract):
            @pytest.fixture
            def factory(self):
                table = new_name()
                return lambda **options: MyStore(table, **options)

    Attributes:
        lacking: `semantic_search`, `ttl` and `transactions`, where the store has no embeddings, nothing expires, or a
            batch is not written as a whole: tests of these are left out then.
        persistent: False where a second store from `factory` is another, empty one: tests that open the same items
            again are left out then.

    Fixtures to override:
        factory: A function that opens the store of this test, which is empty at first; it takes the options
            `dimension` and `ttl_seconds`, unless it lacks them. The suite closes what it opens.
        secrets: Passwords that must not be seen in its representation.
    """
