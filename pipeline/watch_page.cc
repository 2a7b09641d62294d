// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/watch_board.hh>

namespace weir::pipeline {

// clang-format off
const char watch_page_head[] = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>pipelines</title>
<link rel="icon" href="data:,">
<style>
:root { --back: #f4f6f8; --card-back: #fff; --rule: #e1e6eb; --ink: #17222d; --soft-ink: #63727f;
  --link: #0b7285; --hot-ink: #c2410c; }
@media (prefers-color-scheme: dark) {
  :root { --back: #10161c; --card-back: #18212a; --rule: #2a3642; --ink: #e4eaf0;
    --soft-ink: #8fa0ae; --link: #4dbdd1; --hot-ink: #ff922b; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 2600px; margin: 0 auto; padding: 1.2rem 1rem 3rem; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .9rem; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0; }
a { color: var(--link); }
nav { margin-left: auto; font-size: .9rem; }
label, button { font: inherit; font-size: .9rem; }
button { padding: .15rem .8rem; border-radius: 8px; border: 1px solid var(--rule);
  background: var(--card-back); color: inherit; cursor: pointer; }
.soft { color: var(--soft-ink); font-size: .9rem; }
section { margin-top: 1.4rem; }
section > div:first-child { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem;
  align-items: baseline; margin-bottom: .4rem; }
b { font-variant-numeric: tabular-nums; font-weight: 650; }
.hot { color: var(--hot-ink); font-weight: 650; }
.view { overflow-x: auto; border: 1px solid var(--rule); border-radius: 12px;
  background: var(--back); }
.view svg { display: block; margin: auto; }
.stale .view { opacity: .55; }
</style>
)page";

const char watch_page_body[] = R"page(</head>
<body>
<main>
<header>
  <h1>Pipelines</h1>
  <button id="pause">pause</button>
  <label><input type="checkbox" id="elements"> elements</label>
  <span class="soft" id="note"></span>
  <nav><a href="./">shards</a> · <a href="pipeline.json">json</a> ·
    <a href="pipeline.dot">dot</a></nav>
</header>
<div id="all"></div>
</main>
<script>
(() => {
const $ = id => document.getElementById(id);
// Rates are over the last two seconds or so.
const period = 400, back = 5, margin = 70;
const known = new Map();
let paused = false, timer = 0;

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function rowOf(graph) {
  return { t: graph.time,
    s: graph.stages.map(s => [s.elements, s.cursor, s.service_ns, s.sampled_elements, s.waits,
      s.window, s.over]),
    e: graph.edges.map(e => [e.taken, e.queued]),
    n: graph.stages.map(s => s.newest) };
}
function add(one) {
  const made = { rows: [], section: element("section"), title: element("h2", one.graph.title) };
  const line = element("div");
  made.facts = element("span", "", "soft");
  made.held = element("span", "", "hot");
  line.append(made.title, made.facts, made.held);
  const view = element("div", undefined, "view");
  const wide = one.graph.width + 2 * margin, high = one.graph.height + 2 * 36;
  // In shape, no smaller than can be read.
  view.innerHTML = `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${wide}"
    height="${high}" viewBox="${-margin} -36 ${wide} ${high}"></svg>`;
  view.firstChild.innerHTML = one.picture;
  view.firstChild.style.minWidth = Math.round(wide * (innerWidth < 700 ? .85 : .62)) + "px";
  view.firstChild.style.maxWidth = "100%";
  view.firstChild.style.height = "auto";
  made.section.append(line, view);
  made.paint = weir.painter(view.firstChild);
  $("all").append(made.section);
  known.set(one.id, made);
  return made;
}
function show(one) {
  const at = known.get(one.id) || add(one), graph = one.graph;
  // Of moments that lie close together only the last: too little happens between them.
  const n = at.rows.length;
  if (n > 1 && graph.time - at.rows[n - 2].t < .1) at.rows.pop();
  at.rows.push(rowOf(graph));
  while (at.rows.length > back + 1) at.rows.shift();
  const now = weir.figures(graph, at.rows, at.rows.length - 1, back);
  if (at.rows.length === 1) now.busiest = graph.bottleneck === null ? -1 : graph.bottleneck;
  else at.paint(now);
  const source = now.stages[0], sink = now.stages[now.stages.length - 1];
  at.facts.textContent = weir.number(source.elements) + " in, " + weir.number(sink.elements) +
    " out, " + weir.time(1e9 * graph.time) + (sink.over ? ", ended" : "");
  const held = graph.stages[now.busiest];
  at.held.textContent = held ? "held up by " + held.name + " on " + weir.place(held) : "";
}
async function poll() {
  try {
    if (!document.hidden) {
      const answer = await fetch("pipeline.json?" + ($("elements").checked ? "elements&" : "") +
        (poll.unknown === false ? "" : "pictures"), { cache: "no-store" });
      const all = (await answer.json()).deployments;
      // Drawings come with the next answer where one is not known yet.
      poll.unknown = all.some(one => !known.has(one.id) && !one.picture);
      for (const [id, at] of known)
        if (!all.some(one => one.id === id)) { at.section.remove(); known.delete(id); }
      for (const one of all) if (known.has(one.id) || one.picture) show(one);
      $("note").textContent = all.length ? "" : "No pipeline runs.";
      document.body.classList.remove("stale");
    }
  } catch (failure) {
    $("note").textContent = "no answer";
    document.body.classList.add("stale");
  }
  if (!paused) timer = setTimeout(poll, period);
}
$("pause").onclick = () => {
  paused = !paused;
  $("pause").textContent = paused ? "go on" : "pause";
  clearTimeout(timer);
  if (!paused) poll();
};
poll();
})();
</script>
</body>
</html>
)page";
// clang-format on

}  // namespace weir::pipeline
