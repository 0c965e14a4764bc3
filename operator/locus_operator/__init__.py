"""The Locus Memory operator: it provisions the storage that `CheckpointStore` objects ask for."""
