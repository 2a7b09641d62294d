# SPDX-License-Identifier: Apache-2.0
"""Says how far something is that takes long, where nobody sees a terminal."""
import os
import sys
import threading
import time

PERIOD_S = float(os.environ.get("WEIR_PROGRESS_SECONDS", 30))


class Telling:
    """While it lasts, prints line(seconds since its beginning) each period."""

    def __init__(self, line, stream=None):
        self.told = False
        self._line = line
        self._stream = stream or sys.stdout
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_each_period, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def tell(self):
        print(self._line(time.monotonic() - self._began), file=self._stream, flush=True)
        self.told = True

    def _tell_each_period(self):
        while not self._ended.wait(PERIOD_S):
            self.tell()
