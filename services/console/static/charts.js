// Line charts in SVG: one line of values over time, gaps where there is none.

import { h, s, replace } from "./dom.js";
import { clock } from "./times.js";

const WIDTH = 600;
const HEIGHT = 120;
const TOP = 1;

/** A figure that `update([[seconds, value or null] …])` draws anew; `format(value)` gives words. */
export function lineChart(title, format, { least = 1 } = {}) {
  const now = h("span", { class: "chart-now num" }, "–");
  const top = h("span", { class: "chart-top num" });
  const from = h("span", { class: "chart-from" });
  const reading = h("span", { class: "chart-reading num" });
  const plot = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "chart-plot" });
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("span", { class: "chart-title" }, title), reading, now),
    h("div", { class: "chart-body" }, top, plot),
    h("div", { class: "chart-axis" }, from, h("span", {}, "now")),
  );
  let drawn = [];
  const update = (points) => {
    drawn = points;
    const values = points.map(([, value]) => value).filter((value) => value !== null && value !== undefined);
    const last = points.length ? points.at(-1)[1] : null;
    const max = nice(Math.max(least, ...values));
    now.textContent = last === null || last === undefined ? "–" : format(last);
    top.textContent = format(max);
    from.textContent = points.length ? clock(new Date(points[0][0] * 1000).toISOString()) : "";
    plot.setAttribute("aria-label", said(title, values, last, format));
    replace(plot, ...grid(), ...lines(points, max));
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const point = nearest(drawn, (event.clientX - box.left) / box.width);
    if (!point) return;
    const value = point[1] === null || point[1] === undefined ? "no value" : format(point[1]);
    reading.textContent = `${clock(new Date(point[0] * 1000).toISOString())}  ${value}`;
  });
  plot.addEventListener("pointerleave", () => (reading.textContent = ""));
  update([]);
  return { figure, update };
}

function said(title, values, last, format) {
  if (!values.length) return `${title}: no values yet`;
  const now = last === null || last === undefined ? "unknown" : format(last);
  return `${title}: now ${now}, at most ${format(Math.max(...values))}, at least ${format(Math.min(...values))}`;
}

function grid() {
  return [TOP, (TOP + HEIGHT) / 2, HEIGHT - 0.5].map((y) =>
    s("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: "chart-grid" }));
}

function lines(points, max) {
  if (points.length < 2) return [];
  const first = points[0][0];
  const all = points.at(-1)[0] - first || 1;
  const runs = [[]];
  for (const [at, value] of points) {
    if (value === null || value === undefined) runs.push([]);
    else runs.at(-1).push([((at - first) / all) * WIDTH, HEIGHT - (Math.max(0, value) / max) * (HEIGHT - TOP)]);
  }
  return runs.filter((run) => run.length > 1).flatMap((run) => {
    const path = `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
    const area = `${path}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}L${run[0][0].toFixed(1)} ${HEIGHT}Z`;
    return [s("path", { d: area, class: "chart-area" }), s("path", { d: path, class: "chart-line" })];
  });
}

/** 1, 2 or 5 times a power of ten that is not below. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}

function nearest(points, share) {
  if (points.length < 2) return null;
  const at = points[0][0] + share * (points.at(-1)[0] - points[0][0]);
  return points.reduce((best, one) => (Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best));
}
