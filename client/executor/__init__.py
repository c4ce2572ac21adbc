"""Tasks in worker processes: `TaskExecutor`, which `sharedmodel.client` offers, and what it is made of.

submit ─► gate ─► group: queue ─► attendant (a thread) ─► its worker (a process): #tasks
future ◄──────────────────────── attendant ◄───────────── result, in shared memory

reference   a function as "module:qualname"; nothing is pickled
task        what is to be done, and its future, whose cancel() ends the work
group       the tasks of one kind of worker, and its attendants
attendant   one thread, one worker at a time; what becomes of a task whose worker ends
worker      the process as its parent sees it; `child` is its inside: a service of one object
"""
