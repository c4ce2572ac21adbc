"""Small real models for tests and the demo, made here from nothing and kept in the cache between runs."""
