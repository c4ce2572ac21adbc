"""Iterators, generators and namespaces behind proxies."""

import multiprocessing
import sys
from multiprocessing.managers import BaseManager, BaseProxy, Namespace, NamespaceProxy


def count_to(n):
    yield from range(n)


def squares(n):
    got = yield "first"
    while True:
        got = yield got * got if got is not None else n


class IteratorProxy(BaseProxy):
    _exposed_ = ("__next__", "send", "close")

    def __iter__(self):
        return self

    def __next__(self):
        return self._callmethod("__next__")

    def send(self, value):
        return self._callmethod("send", (value,))

    def close(self):
        return self._callmethod("close")


class Bag:
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)

    def walk(self):
        return count_to(len(self.items))


class BagProxy(BaseProxy):
    _exposed_ = ("__iter__", "walk", "__len__")
    _method_to_typeid_ = {"__iter__": "Iterator", "walk": "Iterator"}  # noqa: RUF012

    def __iter__(self):
        return self._callmethod("__iter__")

    def walk(self):
        return self._callmethod("walk")


class Manager(BaseManager):
    pass


Manager.register("count_to", count_to, proxytype=IteratorProxy)
Manager.register("squares", squares, proxytype=IteratorProxy)
Manager.register("Iterator", proxytype=IteratorProxy, create_method=False)
Manager.register("Bag", Bag, proxytype=BagProxy)
Manager.register("dict", dict, exposed=["__iter__", "get"], method_to_typeid={"__iter__": "Iterator"})
Manager.register("Namespace", Namespace, NamespaceProxy)


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    with Manager(ctx=ctx) as manager:
        print("count", list(manager.count_to(4)))
        steps = manager.squares(1)
        print("squares", next(steps), steps.send(3), steps.send(4), steps.close())
        try:
            next(steps)
        except StopIteration as exc:
            print("stopped", exc.args, exc.value)
        bag = manager.Bag(["x", "y"])
        print("bag", list(bag), list(bag), list(bag.walk()), type(bag.walk()).__name__)
        table = manager.dict(a=1, b=2)
        print("dict", sorted(table.__iter__()), table.get("a"))

        space = manager.Namespace(x=1)
        space.y = [2]
        space._z = 3
        print("space", space.x, space.y, space._z, str(space))
        del space.x
        for name in ("x", "_missing"):
            try:
                getattr(space, name)
            except AttributeError as exc:
                print("missing", name, type(exc).__name__)
        other = space
        other.y.append(1)
        print("a copy", other.y)


if __name__ == "__main__":
    main()
