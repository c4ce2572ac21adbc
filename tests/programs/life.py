"""start, connect, shutdown, join, the context manager, initializer, get_server."""

import multiprocessing
import os
import sys
import threading
from multiprocessing.managers import BaseManager

state = []


def states():
    return state


def prepare(first, second):
    state.extend([first, second])


class Manager(BaseManager):
    pass


Manager.register("states", states)
Manager.register("pid", callable=os.getpid, exposed=("__int__", "__repr__"))


class Client(BaseManager):
    pass


Client.register("states")


def serve(address):
    Manager(address, authkey=b"k").get_server().serve_forever()


def main():
    ctx = multiprocessing.get_context(sys.argv[1])
    manager = Manager(ctx=ctx)
    print("address before", manager.address)
    manager.start(prepare, ("a", 2))
    print("address", type(manager.address).__name__, os.path.exists(manager.address))
    print("initialized", manager.states()._getvalue())
    print("elsewhere", int(str(manager.pid())) != os.getpid())
    print("children", len(multiprocessing.active_children()), multiprocessing.active_children()[0].name)
    client = Client(manager.address)
    client.connect()
    client.states().append("from the client")
    print("connected", manager.states()._getvalue(), client.states().index(2))
    manager.shutdown()
    manager.shutdown()
    manager.join()
    manager.join(1)
    print("gone", multiprocessing.active_children(), os.path.exists(manager.address))

    place = sys.argv[2]
    with Manager(f"{place}/s", b"key", ctx=ctx) as named:
        print("named", named.address == f"{place}/s", named.states()._getvalue())
        with named as again:
            print("again", again is named)
        print("left", multiprocessing.active_children())
    print("socket", os.path.exists(f"{place}/s"))

    server = ctx.Process(target=serve, args=(f"{place}/t",))
    server.start()
    while True:
        try:
            client = Client(f"{place}/t", authkey=b"k")
            client.connect()
        except OSError:
            continue
        break
    client.states().append(1)
    print("served", client.states()._getvalue())
    server.terminate()
    server.join()

    in_thread = Manager(f"{place}/u", authkey=b"k").get_server()
    print("server", in_thread.address == f"{place}/u")
    thread = threading.Thread(target=in_thread.serve_forever)
    thread.start()
    client = Client(f"{place}/u", authkey=b"k")
    client.connect()
    print("in a thread", client.states()._getvalue())
    in_thread.stop_event.set()
    thread.join()
    print("done")


if __name__ == "__main__":
    main()
