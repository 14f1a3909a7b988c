"""Processes that end with the one that started them, and leave Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any


@contextmanager
def processes(workers: int, begin: Callable[..., None], *given: Any) -> Iterator[ProcessPoolExecutor]:
    """Give processes that end with the block or with this process, however it ends.

    Args:
        workers: how many.
        begin: called once in each, with `given`; all of it can be pickled.
        *given: its arguments.
    """
    context = multiprocessing.get_context("spawn")
    ear, mouth = context.Pipe(duplex=False)
    pool = _Pool(workers, context, initializer=_begin, initargs=(ear, begin, given))
    try:
        yield pool
        pool.shutdown()
    finally:
        mouth.close()
        pool.kill()
        pool.shutdown(cancel_futures=True)
        ear.close()


class _Pool(ProcessPoolExecutor):
    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        """Submit a call; a process that is started for it has Ctrl-C held back until it has begun."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(*call, **options)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*call, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill(self) -> None:
        """End the processes that are left, whatever they do."""
        for process in list((self._processes or {}).values()):
            process.kill()


def _begin(ear: Connection, begin: Callable[..., None], given: tuple[Any, ...]) -> None:
    # Ctrl-C reaches all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(ear,), daemon=True).start()
    begin(*given)


def _end_with(ear: Connection) -> None:
    # Nothing is ever sent: the pipe closes when the process that gave the jobs wants no more, or is gone.
    with suppress(EOFError, OSError):
        ear.recv()
    os._exit(1)
