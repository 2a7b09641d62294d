// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/recorder_file.hh>

namespace weir::pipeline {

// clang-format off
const char recording_style[] = R"css(
svg { --back: #f4f6f8; --ink: #17222d; --soft-ink: #63727f; --accent: #0b7285; --area: #c9e6ec;
  --button: #fff; --edge: #ccd5dd;
  font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  outline: none; background: var(--back); }
@media (prefers-color-scheme: dark) {
  svg { --back: #10161c; --ink: #e4eaf0; --soft-ink: #8fa0ae; --accent: #4dbdd1; --area: #1f4650;
    --button: #18212a; --edge: #384856; }
}
.back { fill: var(--back); }
text { fill: var(--ink); font-variant-numeric: tabular-nums; }
.title { font-size: 20px; font-weight: 650; }
.about, .help { fill: var(--soft-ink); }
.clock, .most { text-anchor: end; }
.help { text-anchor: middle; font-size: 12px; }
.most { font-size: 11px; fill: var(--soft-ink); }
.area { fill: var(--area); }
.rate-line { fill: none; stroke: var(--accent); stroke-width: 1.5; }
.rail { fill: none; stroke: var(--edge); stroke-width: 4; stroke-linecap: round; }
.passed { fill: none; stroke: var(--accent); stroke-width: 4; stroke-linecap: round; }
.needle { stroke: var(--accent); stroke-width: 1.5; }
.knob { fill: var(--accent); stroke: var(--back); stroke-width: 2.5; }
.scrub { cursor: pointer; touch-action: none; outline: none; }
.scrub:focus-visible .knob, .button:focus-visible rect { stroke: var(--ink); stroke-width: 2; }
.button { cursor: pointer; outline: none; }
.button rect { fill: var(--button); stroke: var(--edge); }
.button:hover rect { stroke: var(--accent); }
.button path { fill: var(--ink); }
.button text { text-anchor: middle; font-weight: 650; }
)css";

const char recording_script[] = R"js((() => {
  const own = document.currentScript;
  const svg = own ? own.closest("svg") : document.documentElement;
  const { graph, frames, texts, width } = recording;
  const per = 7, edgesAt = 1 + per * graph.stages.length;
  const textsAt = edgesAt + 2 * graph.edges.length;
  const values = new Array(textsAt + graph.stages.length).fill(0);
  const rows = frames.map(frame => {
    values[0] += frame[0];
    for (let k = 1; k < frame.length; k += 2) values[frame[k]] += frame[k + 1];
    return { t: values[0] / 1e6,
      s: graph.stages.map((_, n) => values.slice(1 + per * n, 1 + per * (n + 1))),
      e: graph.edges.map((_, n) => values.slice(edgesAt + 2 * n, edgesAt + 2 * n + 2)),
      n: graph.stages.map((_, n) => texts[values[textsAt + n]]) };
  });
  if (!rows.length) return;
  const last = rows.length - 1, start = rows[0].t, length = Math.max(rows[last].t - start, 1e-9);
  const back = 4, paint = weir.painter(svg);
  const shown = rows.map((_, i) => weir.figures(graph, rows, i, back));

  function make(tag, attributes, into, content) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    if (content !== undefined) made.textContent = content;
    if (into) into.append(made);
    return made;
  }
  const player = svg.querySelector("#player");
  const xOf = i => width * (rows[i].t - start) / length;

  // What came out over time, to see where to look.
  const scrub = make("g", { class: "scrub", role: "slider", tabindex: 0, "aria-label": "time",
    "aria-valuemin": 0, "aria-valuemax": last }, player);
  make("rect", { x: -12, y: -8, width: width + 24, height: 66, fill: "transparent" }, scrub);
  const rates = shown.map(f => f.stages[f.stages.length - 1].rate), most = Math.max(...rates);
  const line = rates.map((r, i) => xOf(i).toFixed(1) + " " +
    (40 - (most > 0 ? 36 * r / most : 0)).toFixed(1));
  make("path", { class: "area", d: "M0 40 L" + line.join(" L") + " L" + width + " 40 Z" }, scrub);
  make("path", { class: "rate-line", d: "M" + line.join(" L") }, scrub);
  make("path", { class: "rail", d: "M0 48 H" + width }, scrub);
  const passed = make("path", { class: "passed" }, scrub);
  const needle = make("path", { class: "needle" }, scrub);
  const knob = make("circle", { class: "knob", cy: 48, r: 8 }, scrub);
  make("text", { class: "most", x: width, y: -12 }, player,
    "out of the end: up to " + weir.number(most) + "/s");

  let at = -1, playing = false, clock = 0, ticked = 0;
  const steps = [1, 2, 5], nice = x => {
    const unit = 10 ** Math.floor(Math.log10(x));
    return unit * steps.reduce((best, s) =>
      Math.abs(s - x / unit) < Math.abs(best - x / unit) ? s : best);
  };
  let speed = length < 3 ? nice(length / 8) : length > 40 ? nice(length / 20) : 1;

  function show(i) {
    i = Math.max(0, Math.min(last, i));
    if (i === at) return;
    at = i;
    paint(shown[i]);
    const x = xOf(i).toFixed(1);
    passed.setAttribute("d", "M0 48 H" + x);
    needle.setAttribute("d", "M" + x + " 0 V48");
    knob.setAttribute("cx", x);
    scrub.setAttribute("aria-valuenow", i);
    scrub.setAttribute("aria-valuetext", clockText(i));
    clockNode.textContent = clockText(i) + "  ·  frame " + (i + 1) + " of " + rows.length;
    svg.dataset.frame = i;
  }
  const clockText = i => weir.time(1e9 * (rows[i].t - start)).replace("–", "0 s") + " of " +
    weir.time(1e9 * length);
  function frameAt(t) {
    let low = 0, high = last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rows[middle].t - start <= t) low = middle; else high = middle - 1;
    }
    return low;
  }
  function tick(now) {
    if (!playing) return;
    clock += speed * Math.min(250, now - ticked) / 1e3;
    ticked = now;
    show(frameAt(clock));
    if (clock >= length) return pause();
    requestAnimationFrame(tick);
  }
  function play() {
    if (at === last) show(0);
    clock = rows[at].t - start;
    playing = true;
    ticked = performance.now();
    icon();
    requestAnimationFrame(tick);
  }
  function pause() { playing = false; icon(); }
  const toggle = () => playing ? pause() : play();
  const go = i => { pause(); show(i); };
  function faster(by) {
    speed = nice(speed * by);
    speedNode.textContent = "×" + +speed.toPrecision(1);
  }

  const icons = { play: "M13 8 L25 15 L13 22 Z", pause: "M12 8 h4 v14 h-4 Z M20 8 h4 v14 h-4 Z",
    first: "M10 8 h3 v14 h-3 Z M25 8 L14 15 L25 22 Z",
    last: "M23 8 h3 v14 h-3 Z M11 8 L22 15 L11 22 Z",
    before: "M22 8 L11 15 L22 22 Z", next: "M14 8 L25 15 L14 22 Z" };
  function button(x, wide, label, act) {
    const made = make("g", { class: "button", role: "button", tabindex: 0, "aria-label": label,
      transform: "translate(" + x + " 68)" }, player);
    make("title", {}, made, label);
    make("rect", { width: wide, height: 30, rx: 8 }, made);
    made.addEventListener("click", act);
    made.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      act();
      event.preventDefault();
      event.stopPropagation();
    });
    return made;
  }
  const drawn = (on, d) => make("path", { d }, on);
  drawn(button(0, 36, "first frame", () => go(0)), icons.first);
  drawn(button(42, 36, "one frame back", () => go(at - 1)), icons.before);
  const main = drawn(button(84, 36, "play or pause", toggle), icons.play);
  drawn(button(126, 36, "one frame on", () => go(at + 1)), icons.next);
  drawn(button(168, 36, "last frame", () => go(last)), icons.last);
  const speedNode = make("text", { x: 32, y: 20 }, button(216, 64, "speed", event =>
    faster(event && event.shiftKey ? .5 : 2)));
  const clockNode = make("text", { class: "clock", x: width, y: 88 }, player);
  make("text", { class: "help", x: (280 + width - 240) / 2, y: 88 }, player,
    "space plays · ← → step · home, end · + − speed");
  function icon() { main.setAttribute("d", playing ? icons.pause : icons.play); }

  function seek(event) {
    const place = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(scrub.getScreenCTM().inverse());
    go(frameAt(Math.max(0, Math.min(1, place.x / width)) * length + 1e-9));
  }
  scrub.addEventListener("pointerdown", event => { scrub.setPointerCapture(event.pointerId);
    seek(event); });
  scrub.addEventListener("pointermove", event => {
    if (scrub.hasPointerCapture(event.pointerId)) seek(event);
  });
  const keys = { " ": toggle, ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1),
    l: () => go(at + 1), h: () => go(at - 1), j: () => go(at + 1), k: () => go(at - 1),
    PageDown: () => go(at + 10), PageUp: () => go(at - 10), Home: () => go(0),
    End: () => go(last), "+": () => faster(2), "=": () => faster(2), "-": () => faster(.5) };
  const alone = svg === document.documentElement;
  // To be scrolled, not too small to read.
  if (alone)
    svg.style.minWidth = (innerWidth < 700 ? .85 : .62) * svg.viewBox.baseVal.width + "px";
  (alone ? window : svg).addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });

  // "#12" shows a frame, and stays there; else it plays, unless motion is unwelcome.
  faster(1);
  const wanted = alone ? /^#(\d+)$/.exec(location.hash) : null;
  if (wanted) go(+wanted[1]);
  else if (matchMedia("(prefers-reduced-motion: reduce)").matches) go(last);
  else { show(0); play(); }
})();
)js";
// clang-format on

}  // namespace weir::pipeline
