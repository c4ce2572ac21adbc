"""The model server: loads models once and serves them to every process of the host."""

# One file reached under two names would be two modules with two sets of classes.
if __name__ != "sharedmodel.server":
    raise ImportError(f"import sharedmodel.server, not {__name__}: it is installed as a part of sharedmodel")
