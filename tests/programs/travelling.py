"""Proxies in executors, pools and processes, with a key of the manager's own and without."""

import concurrent.futures
import multiprocessing
import sys
import threading
from multiprocessing.managers import BaseManager, BaseProxy


class Sum:
    def __init__(self):
        self.value, self.lock = 0, threading.Lock()

    def add(self, n):
        with self.lock:
            self.value += n
        return self.value

    def get(self):
        return self.value


class SumProxy(BaseProxy):
    _exposed_ = ("add", "get")

    def add(self, n):
        return self._callmethod("add", (n,))

    def get(self):
        return self._callmethod("get")


class Manager(BaseManager):
    pass


Manager.register("Auto", Sum)
Manager.register("Own", Sum, proxytype=SumProxy)

inherited = None


def add(proxy, n):
    proxy.add(n)
    return type(proxy).__name__


def keep(proxy):
    global inherited
    inherited = proxy


def add_to_kept(n):
    inherited.add(n)
    return n


def add_in_threads(proxy, n):
    threads = [threading.Thread(target=proxy.add, args=(n,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pass_on(proxy, method):
    child = multiprocessing.get_context(method).Process(target=add, args=(proxy, 1000))
    child.start()
    child.join()


def main():
    method = sys.argv[1]
    ctx = multiprocessing.get_context(method)
    with Manager(ctx=ctx) as manager:
        for kind in (manager.Auto, manager.Own):
            total = kind()
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx) as executor:
                print("executor", {f.result() for f in [executor.submit(add, total, 1) for _ in range(6)]})
            with concurrent.futures.ProcessPoolExecutor(1, ctx, initializer=keep, initargs=(total,)) as executor:
                print("kept", list(executor.map(add_to_kept, range(3))))
            with ctx.Pool(2) as pool:
                print("pool", pool.starmap(add, [(total, 10)] * 3))
            with ctx.Pool(2, initializer=keep, initargs=(total,)) as pool:
                print("pool kept", pool.map(add_to_kept, [100, 200]))
            children = [ctx.Process(target=add_in_threads, args=(total, 1)) for _ in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            print("codes", [child.exitcode for child in children])
            child = ctx.Process(target=pass_on, args=(total, method))
            child.start()
            child.join()
            print("total", total.get(), child.exitcode)
    with Manager(authkey=b"its own", ctx=ctx) as manager:
        total = manager.Own()
        child = ctx.Process(target=add, args=(total, 1))
        child.start()
        child.join()
        print("with a key", total.get(), child.exitcode)


if __name__ == "__main__":
    main()
