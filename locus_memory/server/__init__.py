"""`locus-memory serve`: any backend of this library as a service over HTTP."""
