"""sharedmodel: models loaded once per host, called by every process as if they were local."""

__version__ = "0.1.0"
