"""Queues, dicts, lists and locks that processes share."""

import collections
import multiprocessing
import queue
import sys
import threading
from multiprocessing.managers import BaseManager

jobs = queue.Queue(maxsize=2)
results = queue.Queue()
table = {"a": 1}
lock = threading.Lock()


def get_jobs():
    return jobs


def get_results():
    return results


def get_table():
    return table


def get_lock():
    return lock


class Manager(BaseManager):
    pass


Manager.register("jobs", get_jobs)
Manager.register("results", get_results)
Manager.register("table", get_table)
Manager.register("lock", get_lock, exposed=("acquire", "release", "locked"))
Manager.register("list", list, exposed=("append", "__getitem__", "__setitem__", "__len__", "sort", "pop", "extend"))
Manager.register("deque", collections.deque)


def work(address):
    manager = Manager(address)
    manager.connect()
    waiting, done = manager.jobs(), manager.results()
    while (job := waiting.get()) is not None:
        done.put((job, job * job))
    done.put("done")


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    with Manager(ctx=ctx) as manager:
        workers = [ctx.Process(target=work, args=(manager.address,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        waiting, done = manager.jobs(), manager.results()
        for job in range(20):
            waiting.put(job)
        for _ in workers:
            waiting.put(None)
        for worker in workers:
            worker.join()
        answers = [done.get() for _ in range(22)]
        print("squares", sorted(a for a in answers if a != "done"), answers.count("done"))
        for mistake in (done.get_nowait, lambda: done.get(True, 0.01), lambda: [waiting.put_nowait(0) for _ in "123"]):
            try:
                mistake()
            except Exception as exc:
                print("queue", type(exc).__module__, type(exc).__qualname__, exc.args)
        table = manager.table()
        table.update(b=2, c=[1, (2, 3)])
        print("table", table.get("b"), table.pop("a"), table.get("zz"), table.copy())
        print("views", table.keys(), table.values(), table.items(), type(table.keys()).__name__)
        try:
            table.pop("none")
        except KeyError as exc:
            print("key", exc.args)
        numbers = manager.list([3, 1, 2])
        numbers.append(0)
        numbers.sort()
        numbers[1] = "x"
        print("list", numbers[0], numbers[1], numbers[-1], numbers[1:3], len(numbers), numbers._getvalue())
        try:
            numbers[99]
        except IndexError as exc:
            print("index", exc.args)
        ring = manager.deque("abc", 2)
        ring.appendleft("z")
        print("deque", ring.popleft(), str(ring))
        lock = manager.lock()
        print("lock", lock.acquire(), lock.acquire(False), lock.locked(), lock.release())


if __name__ == "__main__":
    main()
