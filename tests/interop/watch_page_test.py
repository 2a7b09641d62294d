#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""What a browser makes of a recording and of the page that shows pipelines live."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import xml.dom.minidom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import script  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("WEIR_BUILD", "build")) / "tests/pipeline/weir_watch_demo"
# Does what a person would, and leaves in the document what the picture said then.
PERSON = """<script><![CDATA[
(() => {
  const svg = document.documentElement, seen = [];
  const key = name => {
    window.dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
    seen.push(svg.dataset.frame);
  };
  ["Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "j", "k"].forEach(key);
  const rail = svg.querySelector(".rail").getBoundingClientRect();
  const scrub = svg.querySelector(".scrub");
  scrub.setPointerCapture = () => {};
  scrub.dispatchEvent(new PointerEvent("pointerdown", { clientX: rail.left, clientY: rail.top }));
  seen.push(svg.dataset.frame);
  scrub.dispatchEvent(new PointerEvent("pointerdown", { clientX: rail.right, clientY: rail.top }));
  seen.push(svg.dataset.frame);
  svg.dataset.seen = seen.join(" ");
})();
]]></script>
</svg>"""


def browse(folder, *arguments):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--window-size=1600,900", f"--user-data-dir={folder}/profile", *arguments]
    return subprocess.run(command, check=True, timeout=90, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode()


class Demo:
    """The program, and the folder with its recording."""

    def __enter__(self):
        if not shutil.which("chromium"):
            raise script.Skip("no chromium")
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        self.recording = pathlib.Path(self.folder) / "recording.svg"
        self._process = subprocess.Popen([PROGRAM, self.recording], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)
        self.page = "http://" + self._process.stdout.readline().decode().strip()
        return self

    def __exit__(self, *failure):
        self._process.stdin.close()
        status = self._process.wait(timeout=30)
        self._folder.cleanup()
        assert failure[0] or status == 0, f"the program ended with {status}"


def test_recording():
    """a recording plays in a browser: keys step, the rail scrubs, figures and elements show"""
    with Demo() as demo:
        text = demo.recording.read_text("utf-8")
        xml.dom.minidom.parseString(text)
        frames = int(re.search(r"(\d+) frames<", text)[1])
        assert frames > 3, frames
        played = pathlib.Path(demo.folder) / "played.svg"
        played.write_text(re.sub(r"</svg>\s*$", lambda _: PERSON, text), "utf-8")
        shown = browse(demo.folder, "--dump-dom", f"file://{played}#2")
        last = frames - 1
        expected = [0, 1, 2, 1, last, last, last, last - 1, 0, last]
        seen = re.search(r'data-seen="([^"]*)"', shown)[1]
        assert seen == " ".join(map(str, expected)), (seen, expected)
        middle = browse(demo.folder, "--dump-dom", f"file://{demo.recording}#{frames // 2}")
        assert f'data-frame="{frames // 2}"' in middle
        assert "busiest" in middle and re.search(r'class="newest"[^>]*>[^<]*“word\d+”', middle)
        picture = pathlib.Path(demo.folder) / "recording.png"
        browse(demo.folder, f"--screenshot={picture}", f"file://{demo.recording}#{frames // 2}")
        assert picture.stat().st_size > 20_000


def test_live_page():
    """the live page draws what runs, moves with it, and names what holds it up"""
    with Demo() as demo:
        with urllib.request.urlopen(f"{demo.page}/pipeline", timeout=20) as answer:
            assert b"src=" not in answer.read()  # nothing to load from elsewhere
        # A busy machine may need a few looks until the store has held all others up.
        for _ in range(5):
            shown = browse(demo.folder, "--virtual-time-budget=4000", "--dump-dom",
                           f"{demo.page}/pipeline")
            held = re.findall(r">(held up by [^<]*)<", shown)
            if held and held[0].startswith("held up by store on shard"):
                break
        assert held and held[0].startswith("held up by store on shard"), held
        assert len(re.findall(r"<h2>", shown)) == 2
        rate = re.search(r'data-stage="0".*?class="rate"[^>]*>([^<]*)/s<', shown, re.S)[1]
        assert rate not in ("0", "–"), rate
        assert len(re.findall(r'data-edge="\d+"', shown)) == 9 + 4
        picture = pathlib.Path(demo.folder) / "live.png"
        browse(demo.folder, "--virtual-time-budget=4000", f"--screenshot={picture}",
               f"{demo.page}/pipeline")
        assert picture.stat().st_size > 20_000


if __name__ == "__main__":
    script.run(globals())
