"""The machine as the server meets it: what there is, who gets how much of it, and what to do when it is short.

    facts      files ─► cgroup ─► cores, memory, pressure, oom, limits     read, nothing is changed
               own, gpu (and gpus: those of a host), estimate
    policy     threads      cores ─► threads of each model
               budget       memory ─► bytes that may be used
               ledger       loads ─► what each model takes
               governor     budget, models ─► load now, make room first, wait, or never
               relief       pressure ─► shrink, trim, unload
    words      seat: a device as it is configured, and as it was chosen
    doing      own (trim), torch_threads, torch_cache, batches (split and retry)

The supervisor imports this: nothing here imports numpy, pydantic or a model library. Each fact takes the
root of a file tree, "/" by default. Policy reads no file and no clock. Bytes are bytes, times are seconds.
"""
