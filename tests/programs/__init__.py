"""Small programs written for `multiprocessing.managers`. `test_drop_in` runs each as it is, and again
with ``multiprocessing.managers`` changed to ``sharedmodel.manager`` in its one import, and compares what
they print. Their argument is the start method."""
