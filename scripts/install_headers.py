#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Run by "meson install": copies the library's headers, folders kept, to include/weir."""
import os
import pathlib
import shutil
import sys

source = pathlib.Path(__file__).resolve().parent.parent
target = pathlib.Path(os.environ["MESON_INSTALL_DESTDIR_PREFIX"]) / sys.argv[1]
for folder in ("core", "io", "net", "pipeline"):
    for header in sorted((source / folder).rglob("*.hh")):
        place = target / header.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(header, place)
        place.chmod(0o644)
