"""How long objects live: references over del, pickle and processes."""

import gc
import multiprocessing
import pickle
import sys
import time
from multiprocessing.managers import BaseManager


class Thing:
    def __init__(self, name="thing"):
        self.name = name

    def get(self):
        return self.name

    def me(self):
        return self

    def __str__(self):
        return self.name


class Manager(BaseManager):
    pass


Manager.register("Thing", Thing, method_to_typeid={"me": "Same"})
Manager.register("Same", create_method=False)
Manager.register("list", list, exposed=("append", "pop", "__getitem__"))


def settles(manager, wanted):
    end = time.monotonic() + 5
    while (found := manager._number_of_objects()) != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return found


def counts(manager, wanted):
    """The reference counts, once they are these; a process that ends may take a moment."""
    end = time.monotonic() + 5
    while True:
        lines = manager._debug_info().split("\n")
        found = sorted(int(line.partition("refcount=")[2]) for line in lines if "refcount" in line)
        if found == wanted or time.monotonic() > end:
            return found
        time.sleep(0.01)


def use(proxy, pipe):
    pipe.send(proxy.get())
    pipe.recv()


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    with Manager(ctx=ctx) as manager:
        print("none", manager._number_of_objects())
        thing = manager.Thing("a")
        print("one", manager._number_of_objects(), counts(manager, [1]))
        other = manager.Thing("b")
        print("two", manager._number_of_objects(), "a" in manager._debug_info())
        del other
        print("one again", settles(manager, 1))

        same = thing.me()
        print("the same object", counts(manager, [2]), manager._number_of_objects(), same.get())
        del same
        print("dropped", counts(manager, [1]))

        copy = pickle.loads(pickle.dumps(thing))
        print("a copy", copy.get(), counts(manager, [2]), manager._number_of_objects())
        del thing
        gc.collect()
        print("by its copy", copy.get(), counts(manager, [1]))

        ours, theirs = ctx.Pipe()
        child = ctx.Process(target=use, args=(copy, theirs))
        child.start()
        print("in a child", ours.recv())
        ours.send(None)
        child.join()
        print("after the child", counts(manager, [1]))

        holder = manager.list([copy])
        del copy
        gc.collect()
        print("held inside", holder[0].get())
        del holder
        gc.collect()
        print("nothing", settles(manager, 0), repr(manager._debug_info()))


if __name__ == "__main__":
    main()
