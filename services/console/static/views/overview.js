import { get } from "../api.js";
import { lineChart } from "../charts.js";
import { counted } from "../connection_words.js";
import { empty, foreign, h, link, place, replace, state } from "../dom.js";
import { keepLoaded, section, silentGateways, table } from "../parts.js";
import { ago, span } from "../times.js";

export const title = "Overview";

const REFRESH_SECONDS = 2;
const LATE_SECONDS = 10;
const SILENT = "Their connections are not counted here, and may not be told: those of ";
const LANES = [
  ["failing", "bad"],
  ["unverified", "none"],
  ["behind", "busy"],
  ["paused", "held"],
  ["converged", "good"],
];
const number = (value) => (value ?? 0).toLocaleString("en");
const rate = (value) => `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} /s`;
const count = (value) => number(Math.round(value));

export function show(main, { heading, signal }) {
  const tiles = h("div", {});
  const gateways = h("div", {});
  const charts = [
    ["eventsPerSecond", lineChart("Events", rate)],
    ["connections", lineChart("Open connections", count, { least: 5 })],
    ["outboxSeconds", lineChart("Oldest event not in the log", span)],
    ["webhookSeconds", lineChart("Webhook longest behind", span)],
    ["tailSeconds", lineChart("Gateways behind the log", span)],
  ];
  const note = h("p", { class: "faint" });
  replace(main, heading, tiles,
    section("The last minutes", h("div", { class: "charts" }, charts.map(([, one]) => one.figure)), note),
    section("Gateways", gateways));
  keepLoaded(tiles, signal, REFRESH_SECONDS, () => get("overview", {}, signal), (now) => {
    replace(tiles, ...tilesOf(now));
    replace(gateways, now.silent?.length ? silentGateways(now.silent, SILENT) : null, gatewayTable(now.gateways ?? []));
  });
  keepLoaded(note, signal, REFRESH_SECONDS, () => get("samples", {}, signal), ({ everySeconds, samples }) => {
    for (const [name, chart] of charts) chart.update(samples.map((one) => [Date.parse(one.at) / 1000, one[name]]));
    replace(note, `One value every ${span(everySeconds ?? 5).replace(".0 s", " s")}, since the Console started.`);
  });
}

function tilesOf(now) {
  const { log, outbox, webhooks, gateways = [], silent = [] } = now;
  const lanes = webhooks?.lanes ?? {};
  const connections = gateways.flatMap((one) => Object.values(one.connections)).reduce((all, one) => all + one, 0);
  const isLate = (outbox?.oldestSeconds ?? 0) > LATE_SECONDS;
  return [
    h("div", { class: "tiles" },
      tile("Log", number(log.messages), [`events kept, up to ${number(log.lastSequence)}`, log.bytesMax > 0 ? `${percent(log.bytes, log.bytesMax)} of its space` : null], place("events")),
      tile("Outbox", number(outbox?.waiting), [isLate ? state("bad", `oldest waits ${span(outbox.oldestSeconds)}`) : state("good", outbox?.waiting ? "on its way to the log" : "all is in the log")]),
      tile("Connections", number(connections), [
        `on ${counted(gateways.length, "gateway")}`,
        silent.length ? state("bad", `${counted(silent.length, "gateway")} did not answer`) : null,
      ], place("connections")),
      tile("Webhooks", number(Object.values(lanes).reduce((all, one) => all + one, 0)),
        LANES.filter(([name]) => lanes[name]).map(([name, kind]) =>
          link(state(kind, `${number(lanes[name])} ${name}`), place("subscriptions", null, { state: name })))),
    ),
  ];
}

function tile(name, value, more, href = null) {
  return h("div", { class: "tile" },
    h("h2", { class: "tile-name" }, href ? link(name, href) : name),
    h("p", { class: "tile-value num" }, value),
    h("div", { class: "tile-more" }, more.filter(Boolean).map((one) => h("div", {}, one))),
  );
}

function percent(part, whole) {
  const share = (100 * part) / whole;
  return share > 0 && share < 0.1 ? "under 0.1 %" : `${share.toFixed(share < 10 ? 1 : 0)} %`;
}

function gatewayTable(gateways) {
  if (!gateways.length) {
    return empty("No gateway answers", "Without one nobody is told by Server-Sent Events or WebSocket. Start one: tidings gateway.");
  }
  return table("Gateways", [
    { label: "Gateway", cell: (one) => foreign(one.id, { class: "mono" }) },
    { label: "State", cell: (one) => one.isDraining ? state("held", "draining") : one.isLive ? state("good", "follows the log") : state("bad", "does not follow the log") },
    { label: "Host", cell: (one) => foreign(one.host) },
    { label: "Connections", cell: (one) => Object.entries(one.connections).map(([kind, of]) => `${number(of)} ${kind}`).join(", ") || "none" },
    { label: "Users", cell: (one) => number(one.users), numeric: true },
    { label: "Ended lately", cell: (one) => number(one.endedKept), numeric: true },
    { label: "Started", cell: (one) => ago(one.startedAt) },
  ], gateways);
}
