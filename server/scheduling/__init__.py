"""The scheduler: which call a model serves next, and on which thread.

    calls ─► lanes ─────────────► policy ───────────► fairness, groups, order
             threads, the clock   `now` is told it    data structures
               │
               └► batching ─► the model's own way to run several calls as one

`policy` decides and knows neither threads nor clocks; `lanes` carries its decisions out on the
threads that bring the calls; `calls` makes jobs of a session's calls. `settings` says what may be set.
"""
