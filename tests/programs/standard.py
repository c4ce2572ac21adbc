"""The proxies of the standard library's own objects."""

import multiprocessing
import sys
import threading
import time
from multiprocessing.managers import (
    AcquirerProxy,
    ArrayProxy,
    BarrierProxy,
    BaseListProxy,
    BaseManager,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    ValueProxy,
)


class Cell:
    def __init__(self, value):
        self._value = value

    def get(self):
        return self._value

    def set(self, value):
        self._value = value


def condition():
    return threading.Condition(threading.Lock())


class Manager(BaseManager):
    pass


Manager.register("list", list, ListProxy)
Manager.register("base_list", list, BaseListProxy)
Manager.register("dict", dict, DictProxy)
Manager.register("Iterator", proxytype=IteratorProxy, create_method=False)
Manager.register("reversed", reversed, proxytype=IteratorProxy)
Manager.register("bytes", bytearray, ArrayProxy)
Manager.register("Cell", Cell, ValueProxy)
Manager.register("Lock", threading.Lock, AcquirerProxy)
Manager.register("Semaphore", threading.Semaphore, AcquirerProxy)
Manager.register("Event", threading.Event, EventProxy)
Manager.register("Barrier", threading.Barrier, BarrierProxy)
Manager.register("Condition", condition, ConditionProxy)


def work(numbers, table, lock, event, barrier, done, number):
    event.wait()
    with lock:
        numbers.append(number)
        table[number] = table.get(number, 0) + 1
    barrier.wait()
    with done:
        table["done"] += 1
        done.notify_all()


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    with Manager(ctx=ctx) as manager:
        numbers, table = manager.list(), manager.dict(done=0)
        lock, event, barrier, done = manager.Lock(), manager.Event(), manager.Barrier(3), manager.Condition()
        shared = (numbers, table, lock, event, barrier, done)
        children = [ctx.Process(target=work, args=(*shared, number)) for number in range(3)]
        for child in children:
            child.start()
        print("waiting", event.is_set(), barrier.parties, barrier.broken)
        event.set()
        with done:
            print("all done", done.wait_for(lambda: table["done"] == 3, timeout=30))
        for child in children:
            child.join()
        print("together", sorted(numbers), sorted(table.items(), key=str), event.wait(0))

        numbers.sort()
        numbers += [7, 8]
        numbers *= 2
        print("list", len(numbers), 7 in numbers, numbers.count(7), numbers[-2:], numbers + [1], type(numbers).__name__)  # noqa: RUF005
        del numbers[0]
        numbers.sort(reverse=True)
        print("sorted", numbers[:3], [n for n in numbers][:3], numbers * 1 == numbers._getvalue())
        print("base", manager.base_list("abc").index("b"), type(manager.base_list()).__name__)
        print("dict", sorted(iter(table), key=str), "done" in table, table.pop("done"), table.setdefault("x", 5))
        del table["x"]
        print("left", len(table), table.copy() == table._getvalue())
        print("iterator", list(manager.reversed([1, 2, 3])))
        raw = manager.bytes(b"abc")
        raw[1] = 90
        print("bytes", raw[1], len(raw), raw[0])
        cell = manager.Cell(5)
        cell.value = cell.value + 1
        print("cell", cell.get(), cell.value)
        print("lock", lock.acquire(timeout=1), lock.acquire(False), lock.release())
        both = manager.Semaphore(2)
        with both, both:
            start = time.monotonic()
            print("semaphore", both.acquire(True, 0.2), time.monotonic() - start >= 0.2)
        barrier.abort()
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            print("broken", barrier.broken, barrier.n_waiting)


if __name__ == "__main__":
    main()
