// SPDX-License-Identifier: Apache-2.0
#include <weir/net/admin.hh>

namespace weir::net {

// clang-format off
const char admin_page[] = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>weir</title>
<link rel="icon" href="data:,">
<style>
:root {
  --back: #f4f6f8; --card: #fff; --line: #e1e6eb; --text: #17222d; --soft: #63727f;
  --accent: #0b7285; --fill: #c9e6ec; --good: #2b8a3e; --warn: #c2590a; --bad: #c92a2a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #10161c; --card: #18212a; --line: #2a3642; --text: #e4eaf0; --soft: #8fa0ae;
    --accent: #4dbdd1; --fill: #1f4650; --good: #69c77b; --warn: #f0a35e; --bad: #ff8787;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.2rem 1rem 3rem; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .9rem;
  margin-bottom: 1rem; }
h1 { font-size: 1.35rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1rem; margin: 1.8rem 0 .6rem; }
.pill { border-radius: 99px; padding: .1rem .7rem; font-size: .85rem; font-weight: 600;
  color: var(--good); border: 1.5px solid currentColor; }
.pill.not { color: var(--bad); }
.links { margin-left: auto; font-size: .9rem; }
a { color: var(--accent); }
.soft { color: var(--soft); }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); gap: .6rem; }
.total, .card, .box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.total { padding: .55rem .8rem; }
.total b { display: block; font-size: 1.25rem; font-weight: 650; white-space: nowrap; }
.total span { color: var(--soft); font-size: .82rem; }
b, td, dd { font-variant-numeric: tabular-nums; }
.cards { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.card { padding: .8rem .9rem .7rem; min-width: 0; }
.card h3 { margin: 0; font-size: .95rem; display: flex; align-items: baseline; }
.card h3 b { margin-left: auto; font-size: 1.15rem; }
.card h3 i { font: inherit; font-size: .82rem; color: var(--soft); margin-left: .3rem; }
.bar { height: 6px; border-radius: 3px; background: var(--line); overflow: hidden;
  margin: .35rem 0 .3rem; }
.bar div { height: 100%; width: 0; background: var(--accent); transition: width .6s; }
.bar.high div { background: var(--warn); }
svg.trend { display: block; width: 100%; height: 34px; margin-bottom: .45rem; }
svg.trend path { fill: var(--fill); }
svg.trend polyline { fill: none; stroke: var(--accent); stroke-width: 1.5;
  vector-effect: non-scaling-stroke; }
dl { display: grid; grid-template-columns: 1fr auto 1fr auto; gap: .1rem .6rem; margin: 0;
  font-size: .86rem; }
dt { color: var(--soft); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
dd { margin: 0; text-align: right; white-space: nowrap; }
dd.bad { color: var(--bad); font-weight: 650; }
.strip { display: flex; flex-wrap: wrap; gap: 3px; margin-top: .8rem; }
.strip i { width: 16px; height: 16px; border-radius: 3px; border: 1px solid var(--line); }
.box { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .38rem .8rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line); }
tr + tr td { border-top: 1px solid var(--line); }
td.share { min-width: 6rem; }
footer { margin-top: 1.5rem; font-size: .82rem; color: var(--soft); }
.stale main { opacity: .55; }
@media (max-width: 480px) {
  .cards { grid-template-columns: 1fr; }
  .links { margin-left: 0; width: 100%; }
  .totals { grid-template-columns: repeat(2, 1fr); }
}
</style>
</head>
<body>
<main>
<header>
  <h1 id="title">weir</h1><span class="pill" id="health">…</span>
  <span class="soft" id="uptime"></span>
  <nav class="links"><span id="added"></span>
    <a href="metrics">metrics</a> · <a href="healthz">health</a> ·
    <a href="shards.json">json</a></nav>
</header>
<section class="totals" id="totals"></section>
<div class="strip" id="strip" hidden></div>
<div id="tables"></div>
<h2>Shards</h2>
<section class="cards" id="cards"></section>
<h2>Scheduling groups</h2>
<div class="box"><table id="groups"></table></div>
<footer>Load is the share of time not asleep. Rates are over the last second or so.</footer>
</main>
<script>
"use strict";
const $ = id => document.getElementById(id);
const period = 1000, kept = 90;
let before = null;
const trends = new Map();

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function count(n) {
  if (!isFinite(n)) return "–";
  const a = Math.abs(n);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (a >= limit) return (n / (unit === "k" ? 1e3 : limit)).toPrecision(3) + " " + unit;
  return a < 10 && a % 1 ? n.toFixed(1) : Math.round(n).toString();
}
function bytes(n) {
  if (!isFinite(n)) return "–";
  let unit = 0;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  while (n >= 1024 && unit < 4) { n /= 1024; ++unit; }
  return (unit && n < 100 ? n.toPrecision(n < 10 ? 2 : 3) : Math.round(n)) + " " + units[unit];
}
function share(x) {
  const percent = 100 * x;
  return isFinite(x) ? (percent < 9.95 ? percent.toFixed(1) : Math.round(percent)) + " %" : "–";
}
function time(s) {
  if (s < 90) return Math.floor(s) + " s";
  if (s < 5400) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
  return Math.floor(s / 86400) + " days";
}
const metric = (shard, name) => shard.metrics["weir_" + name] || 0;
function show(unit, value, rate) {
  if (unit === "bytes") return bytes(value);
  if (unit === "bytes/s") return bytes(rate) + "/s";
  if (unit === "count/s") return count(rate) + "/s";
  return count(value);
}

// What changed since the last answer, a second.
function since(now) {
  const apart = before ? now.time - before.time : NaN;
  const old = new Map(before ? before.shards.map(s => [s.id, s]) : []);
  const rate = (shard, name) => {
    const was = old.get(shard.id);
    return was ? (metric(shard, name) - metric(was, name)) / apart : NaN;
  };
  return { apart, old, rate,
    load: shard => {
      const slept = rate(shard, "asleep_seconds");
      return isFinite(slept) ? Math.min(1, Math.max(0, 1 - slept)) : NaN;
    } };
}

function showTotals(now, past) {
  const sum = name => now.shards.reduce((all, s) => all + metric(s, name), 0);
  const rates = name => now.shards.reduce((all, s) => all + past.rate(s, name), 0);
  const loads = now.shards.map(past.load);
  const figures = [
    ["load, " + now.shards.length + (now.shards.length === 1 ? " shard" : " shards"),
     share(loads.reduce((a, b) => a + b, 0) / loads.length)],
    ["connections", count(sum("net_connections"))],
    ["received", bytes(rates("net_received_bytes_total")) + "/s"],
    ["sent", bytes(rates("net_sent_bytes_total")) + "/s"],
    ["operations", count(rates("io_operations_total")) + "/s"],
    ["calls across", count(rates("calls_sent_total")) + "/s"],
    ["memory", now.resident_bytes === null ? "–" : bytes(now.resident_bytes)],
    ["stalls", count(sum("stalls_total"))],
  ];
  $("totals").replaceChildren(...figures.map(([name, value]) => {
    const made = element("div", undefined, "total");
    made.append(element("b", value), element("span", name));
    return made;
  }));
}

function trendOf(shard, load) {
  const points = trends.get(shard.id) || [];
  if (isFinite(load)) points.push(load);
  while (points.length > kept) points.shift();
  trends.set(shard.id, points);
  const at = points.map((y, i) =>
    (100 * (kept - points.length + i) / (kept - 1)).toFixed(2) + "," + (33 - 31 * y).toFixed(2));
  return at;
}

function makeCard(shard) {
  const card = element("article", undefined, "card");
  card.id = "shard" + shard.id;
  const head = element("h3", "shard " + shard.id);
  head.append(element("b"), element("i", "load"));
  const bar = element("div", undefined, "bar");
  bar.append(element("div"));
  const trend = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  trend.setAttribute("class", "trend");
  trend.setAttribute("viewBox", "0 0 100 34");
  trend.setAttribute("preserveAspectRatio", "none");
  for (const kind of ["path", "polyline"])
    trend.append(document.createElementNS("http://www.w3.org/2000/svg", kind));
  card.append(head, bar, trend, element("dl"));
  return card;
}

function figuresOf(shard, past) {
  const per = name => count(past.rate(shard, name)) + "/s";
  return [
    ["turns", per("turns_total")], ["system calls", per("io_enters_total")],
    ["ready tasks", count(metric(shard, "ready_tasks"))],
    ["timers", count(metric(shard, "armed_timers"))],
    ["calls out", per("calls_sent_total")], ["calls in", per("calls_received_total")],
    ["calls waiting", count(shard.calls_waiting), shard.calls_waiting > 0],
    ["wake-ups", per("wakeups_total")],
    ["in the kernel", count(metric(shard, "io_in_flight"))],
    ["in line for it", count(metric(shard, "io_waiting")), metric(shard, "io_waiting") > 0],
    ["connections", count(metric(shard, "net_connections"))],
    ["refused", count(metric(shard, "net_refused_total")),
      past.rate(shard, "net_refused_total") > 0],
    ["received", bytes(past.rate(shard, "net_received_bytes_total")) + "/s"],
    ["sent", bytes(past.rate(shard, "net_sent_bytes_total")) + "/s"],
    ["pool, free", bytes(metric(shard, "pool_cached_bytes"))],
    ["buffers lent", count(metric(shard, "io_buffers_lent"))],
    ["stalls", count(metric(shard, "stalls_total")), past.rate(shard, "stalls_total") > 0],
    ["unseen errors", count(metric(shard, "failures_ignored_total")),
      metric(shard, "failures_ignored_total") > 0],
  ];
}

function showShard(shard, past) {
  let card = $("shard" + shard.id);
  if (!card) { card = makeCard(shard); $("cards").append(card); }
  const load = past.load(shard);
  card.querySelector("h3 b").textContent = share(load);
  const bar = card.querySelector(".bar");
  bar.classList.toggle("high", load > .9);
  bar.firstChild.style.width = isFinite(load) ? 100 * load + "%" : 0;
  const points = trendOf(shard, load);
  if (points.length > 1) {
    card.querySelector("polyline").setAttribute("points", points.join(" "));
    const first = points[0].split(",")[0], last = points[points.length - 1].split(",")[0];
    card.querySelector("path").setAttribute("d",
      "M" + first + ",34 L" + points.join(" L") + " L" + last + ",34 Z");
  }
  const list = [];
  for (const [name, value, bad] of figuresOf(shard, past))
    list.push(element("dt", name), element("dd", value, bad ? "bad" : ""));
  card.querySelector("dl").replaceChildren(...list);
}

function showStrip(now, past) {
  const strip = $("strip");
  strip.hidden = now.shards.length < 9;
  strip.replaceChildren(...now.shards.map(shard => {
    const load = past.load(shard), cell = element("i");
    cell.title = "shard " + shard.id + ": " + share(load);
    cell.style.background = "color-mix(in srgb, var(--accent) " +
      Math.round(100 * (load || 0)) + "%, transparent)";
    return cell;
  }));
}

function rowsOf(head, rows) {
  const top = element("tr");
  top.append(...head.map(h => element("th", h)));
  return [top, ...rows.map(cells => {
    const row = element("tr");
    row.append(...cells.map(c => element("td", c)));
    return row;
  })];
}

function showGroups(now, past) {
  const groups = new Map();
  for (const shard of now.shards) {
    const was = past.old.get(shard.id);
    shard.groups.forEach((group, i) => {
      const all = groups.get(group.name) || { ready: 0, tasks: 0, busy: 0, runtime: 0 };
      const old = was && was.groups[i] || { tasks: NaN, runtime: NaN };
      all.ready += group.ready;
      all.runtime += group.runtime;
      all.tasks += (group.tasks - old.tasks) / past.apart;
      all.busy += (group.runtime - old.runtime) / past.apart;
      groups.set(group.name, all);
    });
  }
  $("groups").replaceChildren(...rowsOf(
    ["group", "share of all shards", "tasks", "ready", "time run"], [...groups].map(([name, g]) =>
      [name || "default", share(g.busy / now.shards.length),
      count(g.tasks) + "/s", count(g.ready), time(g.runtime)])));
}

function showTables(now, past) {
  $("tables").replaceChildren(...now.tables.flatMap((table, t) => {
    const old = new Map(before ? before.tables[t].rows.map(r => [r[0], r]) : []);
    const box = element("div", undefined, "box"), made = element("table");
    const rows = table.rows.map(row => [row[0], ...table.columns.map((column, i) =>
      show(column.unit, row[i + 1], (row[i + 1] - (old.get(row[0]) || [])[i + 1]) / past.apart))]);
    made.append(...rowsOf([table.row_header, ...table.columns.map(c => c.header)], rows));
    box.append(made);
    if (table.left_out) box.append(element("div", "and " + table.left_out + " more", "soft"));
    return [element("h2", table.title), box];
  }));
}

function showAll(now) {
  const past = since(now);
  document.title = now.title + (now.health === "ok" ? "" : " – " + now.health);
  $("title").textContent = now.title;
  $("health").textContent = now.health;
  $("health").classList.toggle("not", now.health !== "ok");
  $("uptime").textContent = "up " + time(now.uptime);
  $("added").replaceChildren(...now.links.flatMap(([path, name]) => {
    const link = element("a", name);
    link.href = path;
    return [link, " · "];
  }));
  showTotals(now, past);
  showStrip(now, past);
  showTables(now, past);
  for (const shard of now.shards) showShard(shard, past);
  showGroups(now, past);
  before = now;
}

async function poll() {
  try {
    const answer = await fetch("shards.json", { cache: "no-store" });
    showAll(await answer.json());
    document.body.classList.remove("stale");
  } catch (failure) {
    $("health").textContent = "no answer";
    $("health").classList.add("not");
    document.body.classList.add("stale");
  }
  setTimeout(poll, before && !isFinite(since(before).apart) ? period / 4 : period);
}
poll();
</script>
</body>
</html>
)page";
// clang-format on

}  // namespace weir::net
