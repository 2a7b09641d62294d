// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/picture.hh>

namespace weir::pipeline {

// A row is what was counted at a moment: t seconds; for each stage [elements, cursor, service_ns,
// sampled_elements, waits, window, over]; for each edge [taken, queued]; for each stage what its
// newest elements look like. Figures are a function of the rows around, so that one can go back.
// clang-format off
const char picture_script[] = R"js(
const weir = (() => {
  function number(n) {
    if (!isFinite(n)) return "–";
    let unit = 0;
    const units = ["", " k", " M", " G", " T"];
    if (n >= 9999.5) while (n >= 999.5 && unit < 4) { n /= 1000; ++unit; }
    const digits = unit === 0 ? (n < 9.95 && n % 1 ? 1 : 0) : n < 9.995 ? 2 : n < 99.95 ? 1 : 0;
    return n.toFixed(digits) + units[unit];
  }
  function time(ns) {
    if (!(ns > 0)) return "–";
    const [value, unit] = ns < 999.5 ? [ns, "ns"] : ns < 999.5e3 ? [ns / 1e3, "µs"] :
      ns < 999.5e6 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
    return value.toFixed(unit === "ns" || value >= 99.95 ? 0 : value < 9.995 ? 2 : 1) + " " + unit;
  }
  const grouped = n => String(n).replace(/\B(?=(\d{3})+$)/g, "\u2009");

  // What happened in the `back` rows up to row i.
  function figures(graph, rows, i, back) {
    const now = rows[i], from = Math.max(0, i - back), past = rows[from];
    const apart = now.t - past.t;
    const mean = (pick) => {
      let sum = 0, count = 0;
      for (let k = Math.min(from + 1, i); k <= i; ++k, ++count) sum += pick(rows[k]);
      return sum / count;
    };
    const before = graph.stages.map(() => 0), behind = graph.stages.map(() => 0);
    const edges = graph.edges.map((edge, e) => {
      const full = mean(row => row.e[e][1]) / edge.capacity;
      before[edge.to] = Math.max(before[edge.to], full);
      behind[edge.from] = Math.max(behind[edge.from], full);
      return { queued: now.e[e][1], full: now.e[e][1] / edge.capacity,
        rate: apart > 0 ? (now.e[e][0] - past.e[e][0]) / apart : 0 };
    });
    const stages = now.s.map((s, n) => {
      const p = past.s[n];
      const sampled = s[3] - p[3];
      const rate = apart > 0 ? (s[0] - p[0]) / apart : 0;
      const waits = s[5] ? mean(row => row.s[n][4]) : 0;
      // Of a stage of futures: how long one is under way, after Little.
      const service = graph.stages[n].kind === "async" ? (rate > 0 ? 1e9 * waits / rate : 0) :
        sampled > 0 ? (s[2] - p[2]) / sampled : s[3] > 0 ? s[2] / s[3] : 0;
      const busy = graph.stages[n].kind === "async" ? 0 : rate * service / 1e9;
      const load = Math.min(1, Math.max(busy, s[5] ? waits / s[5] : 0));
      return { elements: s[0], cursor: s[1], rate, service, load, waits: s[4], window: s[5],
        over: s[6], newest: now.n ? now.n[n] : "" };
    });
    let busiest = -1, most = .3;
    stages.forEach((s, n) => {
      const score = s.load + Math.max(0, before[n] - behind[n]) / 2;
      if (!s.over && s.load >= .1 && score > most) { most = score; busiest = n; }
    });
    return { stages, edges, busiest };
  }

  // Only touches what changed: a page may show hundreds of stages.
  function text(node, value) { if (node.textContent !== value) node.textContent = value; }
  function cut(value, most) {
    const all = [...value];
    return all.length > most ? "…" + all.slice(all.length - most).join("") : value;
  }
  function painter(root) {
    const find = (name, list) => [...root.querySelectorAll("[data-" + name + "]")].map(group => {
      const found = { group };
      for (const each of list) found[each] = group.querySelector("." + each);
      return found;
    });
    const stages = find("stage",
      ["rate", "service", "cursor", "waits", "load", "share", "newest"]);
    const edges = find("edge", ["fill"]), labels = find("label", ["queue", "flow"]);
    return shown => {
      shown.stages.forEach((s, n) => {
        const at = stages[n];
        text(at.rate, number(s.rate) + "/s");
        text(at.service.firstChild, time(s.service));
        text(at.cursor, "cursor " + (s.cursor < 0 ? "–" : s.cursor < 1e9 ? grouped(s.cursor) :
          number(s.cursor)));
        text(at.waits, s.over ? "ended" : s.window > 1 ? s.waits + "/" + s.window + " calls"
          : s.waits ? "waiting" : "");
        at.load.setAttribute("width", (96 * s.load).toFixed(1));
        text(at.share, Math.round(100 * s.load) + " % busy");
        text(at.newest, cut(s.newest || "", 30));
        at.group.classList.toggle("over", !!s.over);
        at.group.classList.toggle("busiest", n === shown.busiest);
      });
      shown.edges.forEach((e, n) => {
        const at = edges[n], full = Math.min(100, 100 * e.full);
        at.fill.setAttribute("stroke-dasharray", full.toFixed(2) + " 200");
        at.fill.setAttribute("stroke-dashoffset", (full - 100).toFixed(2));
        text(labels[n].queue.firstChild, number(e.queued) + " ");
        text(labels[n].flow, number(e.rate) + "/s");
        at.group.classList.toggle("full", full > 85);
      });
    };
  }
  const place = stage => "shard " + stage.shard +
    (stage.cpu === null ? "" : ", cpu " + stage.cpu);
  return { figures, painter, number, time, place };
})();
)js";
// clang-format on

}  // namespace weir::pipeline
