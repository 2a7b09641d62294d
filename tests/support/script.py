# SPDX-License-Identifier: Apache-2.0
"""Imported by tests/**/*_test.py: each function named test_* is a case, its docstring its name."""
import sys
import traceback


class Skip(Exception):
    """Raised by a case that can't run here; its text says why."""


def run(namespace):
    failed = False
    for name, function in list(namespace.items()):
        if not name.startswith("test_") or not callable(function):
            continue
        sentence = (function.__doc__ or name).strip().splitlines()[0]
        try:
            function()
        except Skip as reason:
            print(f"skip {sentence}: {reason}", flush=True)
        except BaseException:  # pylint: disable=broad-except
            failed = True
            print(f"not ok {sentence}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"ok {sentence}", flush=True)
    sys.exit(1 if failed else 0)
