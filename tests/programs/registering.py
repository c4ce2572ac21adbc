"""`register` with every argument."""

import multiprocessing
import sys
from multiprocessing.managers import AutoProxy, BaseManager, BaseProxy, MakeProxyType


class Counter:
    limit = 3

    def __init__(self, start=0, *, step=1):
        self.value, self.step = start, step

    def up(self):
        self.value += self.step
        return self.value

    def down(self):
        self.value -= self.step
        return self.value

    def _secret(self):
        return "secret"

    def fresh(self):
        return Counter(self.value * 10)

    def __call__(self):
        return "called"

    def __repr__(self):
        return f"Counter({self.value})"


class CounterProxy(BaseProxy):
    _exposed_ = ("up", "_secret")
    _method_to_typeid_ = {"fresh": "Plain"}  # noqa: RUF012

    def up(self):
        return self._callmethod("up") + 1000

    def secret(self):
        return self._callmethod("_secret")

    def fresh(self):
        return self._callmethod("fresh")


class OldProxy(BaseProxy):
    """Written before `incref` was a parameter."""

    def __init__(self, token, serializer, manager=None, authkey=None, exposed=None):
        super().__init__(token, serializer, manager, authkey, exposed)

    def up(self):
        return self._callmethod("up")


class MadeProxy(MakeProxyType("MadeBase", ("up", "_secret"))):
    def twice(self):
        return self.up(), self.up()


one = Counter(500)


def the_one():
    return one


class Manager(BaseManager):
    pass


class Other(Manager):
    pass


Manager.register("Counter", Counter)
Manager.register("Exposed", Counter, exposed=["down", "_secret", "__call__"])
Manager.register("Proxied", Counter, proxytype=CounterProxy)
Manager.register("Old", Counter, proxytype=OldProxy)
Manager.register("Made", Counter, proxytype=MadeProxy)
Manager.register("Auto", Counter, proxytype=AutoProxy)
Manager.register("Typed", Counter, method_to_typeid={"fresh": "Own"})
Manager.register("Hidden", Counter, create_method=False)
Manager.register("Plain", create_method=False)
Manager.register("Own", proxytype=CounterProxy, create_method=False)
Manager.register("Anything")
Manager.register("Reader", the_one, exposed=["up"])
Manager.register("Writer", the_one, exposed=["down"])
Other.register("Later", Counter)


def methods(proxy):
    return sorted(name for name in dir(proxy) if name in ("up", "down", "_secret", "fresh", "__call__", "limit"))


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    print("inherited", hasattr(Manager, "Later"), hasattr(Other, "Counter"), hasattr(Manager, "Hidden"))
    with Other(ctx=ctx) as manager:
        counter = manager.Counter(5, step=2)
        print("counter", counter.up(), counter.down(), methods(counter), str(counter))
        print("getvalue?", type(counter).__name__, type(counter).__mro__[1:][-2].__name__)
        exposed = manager.Exposed(7)
        print("exposed", exposed.down(), exposed._secret(), exposed(), methods(exposed))
        proxied = manager.Proxied(1)
        print("proxied", proxied.up(), proxied.secret(), type(proxied).__name__)
        fresh = proxied.fresh()
        print("fresh of proxied", type(fresh).__name__, fresh.up(), methods(fresh))
        print("old", manager.Old().up(), type(manager.Old()).__name__)
        made = manager.Made(3)
        print("made", made.twice(), made._secret(), methods(made), type(made).__name__)
        print("auto", manager.Auto(1).up(), type(manager.Auto(1)).__name__)
        typed = manager.Typed(4).fresh()
        print("typed", type(typed).__name__, typed.up())
        anything = manager.Anything([1, 2, 3])
        print("anything", anything.count(2), anything._getvalue(), str(anything))
        print("later", manager.Later(9).up(), manager.Later.__name__)
        reader = manager.Reader()
        print("reader", reader.up(), methods(reader))
        del reader
        writer = manager.Writer()
        print("writer", writer.down(), methods(writer))


if __name__ == "__main__":
    main()
