"""What a server knows of its own work, in numbers.

call ends ─┬─► traces (in each host, where they are asked for)
           └─► meter (in each host) ─► status (the supervisor's, over the lifelines)
status ─┬─► exposition: Prometheus's text format        ─┬─► `sharedmodel metrics`
        ├─► health: ready, or why not                    ├─► web: a process with a port or socket of its own
        └─► summary: each model's numbers over its hosts └─► `sharedmodel status`, `sharedmodel top`
"""
