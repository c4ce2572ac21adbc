"""Starts a manager and leaves it to itself: says its pid and address, and ends as it is told to."""

import multiprocessing
import os
import sys
import threading
import time

from sharedmodel.manager import BaseManager


class Clock:
    def pid(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)


class Manager(BaseManager):
    pass


Manager.register("Clock", Clock)


def main(method, how, calls):
    manager = Manager(ctx=multiprocessing.get_context(method))
    manager.start()
    clock = manager.Clock()
    for _ in range(int(calls)):
        threading.Thread(target=clock.sleep, args=(3600,), daemon=True).start()
    print(clock.pid(), manager.address, flush=True)
    sys.stdin.readline()
    if how == "error":
        raise RuntimeError("on purpose")
    if how == "sys.exit":
        sys.exit(5)
    if how == "os._exit":
        os._exit(6)
    time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
