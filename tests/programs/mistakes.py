"""What goes wrong, and which exceptions catch it. Each line names the one that a program may rely on."""

import multiprocessing
import os
import pickle
import socket
import sys
import threading
from multiprocessing import AuthenticationError, ProcessError, current_process
from multiprocessing.managers import BaseManager, RemoteError


class Thing:
    def __init__(self, bad=False):
        if bad:
            raise ZeroDivisionError("bad")

    def fail(self, text):
        raise LookupError(text, 7)

    def lock(self):
        return threading.Lock()

    def plain(self):
        return "plain"


def forty_two():
    return 42


class Manager(BaseManager):
    pass


Manager.register("Thing", Thing, exposed=("fail", "lock"))
Manager.register("Bare")


class Client(BaseManager):
    pass


Client.register("Thing")
Client.register("Unknown")


def attempt(what, expected, action, *args, **kwds):
    try:
        got = action(*args, **kwds)
    except expected as exc:
        print(what, expected.__name__)
        return exc
    except Exception as exc:
        print(what, "NOT", expected.__name__, "BUT", type(exc).__mro__)
    else:
        print(what, "worked", type(got).__name__)


def of_life(ctx):
    manager = Manager(ctx=ctx)
    attempt("create before start", AssertionError, manager.Thing)
    attempt("an initializer that can't be called", TypeError, manager.start, 5)
    manager.start()
    exc = attempt("start twice", ProcessError, manager.start)
    print(exc.args)
    print(attempt("a server of one that runs", ProcessError, manager.get_server).args)
    thing = manager.Thing()
    manager.shutdown()
    print(attempt("start after shutdown", ProcessError, manager.start).args)
    print(attempt("enter after shutdown", ProcessError, manager.__enter__).args)
    attempt("create after shutdown", AssertionError, manager.Thing)
    attempt("call after shutdown", OSError, thing.fail, "x")


def of_addresses(place):
    attempt("nobody was ever there", FileNotFoundError, Client(f"{place}/nothing").connect)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{place}/dead")
    attempt("nobody is there any more", ConnectionRefusedError, Client(f"{place}/dead").connect)
    os.unlink(f"{place}/dead")


def of_registering():
    attempt("typeids are strings", AssertionError, Manager.register, "M", Thing, method_to_typeid={"a": 1})
    attempt("methods are strings", AssertionError, Manager.register, "M", Thing, method_to_typeid={1: "a"})
    attempt("a key is of bytes", TypeError, BaseManager, authkey="text")


def of_calls(ctx):
    with Manager(ctx=ctx) as manager:
        thing = manager.Thing()
        exc = attempt("the method's own", LookupError, thing.fail, "text")
        print(exc.args)
        attempt("a method that is not exposed, as an attribute", AttributeError, lambda: thing.plain)
        attempt("a method that is not exposed", RemoteError, thing._callmethod, "plain")
        attempt("a method that is not there", RemoteError, thing._callmethod, "nonsense")
        attempt("a private one", RemoteError, thing._callmethod, "__init__")
        attempt("too many arguments", TypeError, thing.fail, 1, 2, 3)
        attempt("an argument that is bound to a process", TypeError, thing.fail, threading.Lock())
        attempt("a typeid that the manager has not", AttributeError, lambda: manager.Nothing)
        attempt("two objects for one", Exception, manager.Bare, 1, 2)
        attempt("a typeid that nobody registered", RemoteError, manager._create, "Nothing")
        client = Client(manager.address)
        client.connect()
        attempt("a typeid that the server has not", RemoteError, client.Unknown)
        print("after all that", str(client.Thing()).startswith("<"), manager._number_of_objects() > 0)
        stale = pickle.dumps(client.Thing())
        attempt("an object that is gone", RemoteError, pickle.loads, stale)


def of_keys(ctx):
    with Manager(authkey=b"right", ctx=ctx) as manager:
        for key in (b"right", b"wrong", None, current_process().authkey):
            name = key if key in (b"right", b"wrong", None) else "the process's"
            attempt(f"a key is asked for, given {name}", AuthenticationError, Client(manager.address, key).connect)
        client = Client(manager.address, b"right")
        attempt("a manager with its key is not for pickling", TypeError, pickle.dumps, client)
        print("it still serves", "Thing" in str(manager.Thing()))
    with Manager(ctx=ctx) as manager:
        for key in (None, b"wrong", current_process().authkey):
            name = key if key in (b"wrong", None) else "the process's"
            attempt(f"no key of its own, given {name}", AuthenticationError, Client(manager.address, key).connect)


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    of_life(ctx)
    of_addresses(sys.argv[2])
    of_registering()
    of_calls(ctx)
    of_keys(ctx)


if __name__ == "__main__":
    main()
