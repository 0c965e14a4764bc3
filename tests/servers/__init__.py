"""Real servers, started on loopback for tests, benchmarks and the demo: no pytest in here."""
