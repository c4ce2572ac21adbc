"""Proxies of proxies, as arguments and as results; copies and texts of them."""

import copy
import multiprocessing
import sys
from multiprocessing.managers import BaseManager, BaseProxy


class Node:
    def __init__(self, name="", inner=None):
        self.name, self.inner, self.children = name, inner, []

    def get_name(self):
        return self.name

    def add(self, child):
        self.children.append(child)
        return child

    def child(self, index):
        return self.children[index]

    def names(self):
        return [child.get_name() for child in self.children]

    def make(self, name):
        made = Node(name)
        self.children.append(made)
        return made

    def all(self):
        return self.children

    def table(self):
        return {"first": self.children[0], "rest": tuple(self.children[1:])}

    def shape(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(self.shape(item) for item in value)
        if isinstance(value, dict):
            return {key: self.shape(item) for key, item in value.items()}
        return value.names()

    def __repr__(self):
        return f"Node {self.name}"


class NodeProxy(BaseProxy):
    _exposed_ = ("get_name", "add", "child", "names")

    def get_name(self):
        return self._callmethod("get_name")

    def loud(self):
        return self.get_name().upper()


class AskingProxy(NodeProxy):
    """Calls while it is made."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self._asked = self.loud()


class Manager(BaseManager):
    pass


Manager.register("Node", Node, method_to_typeid={"make": "Made", "names": "list"})
Manager.register("Made", create_method=False)
Manager.register("Mine", Node, proxytype=NodeProxy)
Manager.register("Asking", Node, proxytype=AskingProxy)
Manager.register("list", list, exposed=("append", "__getitem__", "__len__", "insert", "pop"))
Manager.register("dict", dict, exposed=("__getitem__", "__setitem__", "__contains__", "pop"))


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    with Manager(ctx=ctx) as manager:
        root = manager.Node("root")
        leaf = manager.Node("leaf")
        echoed = root.add(leaf)
        print("echoed", echoed.get_name(), str(echoed), type(echoed).__name__, str(root.names()), len(root.names()))
        del leaf, echoed
        print("kept alive", str(root.names()), root.child(0).get_name())
        made = root.make("made")
        print("made", made.get_name(), type(made).__name__, root.child(0).get_name())
        made.add(manager.Node("deep"))
        print("deep", made.child(0).get_name())

        outer, inner = manager.list(), manager.list([1, 2])
        outer.append(inner)
        outer.append(manager.list([3]))
        inner.append(9)
        print("nested", outer[0][2], len(outer[0]), len(outer), outer[1][0])
        outer[0].append(10)
        print("one list", len(inner), inner[3])
        table = manager.dict()
        table["inner"] = inner
        print("in a dict", table["inner"][0], "inner" in table, table.pop("inner")[1])

        mine = manager.Mine("mine")
        root.add(mine)
        back = root.child(2)
        print("mine", back.get_name(), type(mine).__name__)
        holder = manager.list([mine])
        print("own type", type(holder[0]).__name__, holder[0].loud())

        asking = manager.list([manager.Asking("asking")])[0]
        print("asking", type(asking).__name__, asking._asked, asking.get_name())

        for argument in ([made], {"a": made}, (made,), {"x": [made, {"y": made}]}):
            print("inside", type(argument).__name__, root.shape(argument))
        print("copied", copy.deepcopy(manager.list([1, [2]])))
        print("repr", repr(mine).split(" at ")[0], str(mine), f"{mine}")
        print("done")


if __name__ == "__main__":
    main()
