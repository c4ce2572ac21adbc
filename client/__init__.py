"""What user code imports: connections to a model host and the models behind them."""

# One file reached under two names would be two modules with two sets of classes.
if __name__ != "sharedmodel.client":
    raise ImportError(f"import sharedmodel.client, not {__name__}: it is installed as a part of sharedmodel")
