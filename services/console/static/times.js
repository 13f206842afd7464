// Times as people say them; the exact one is in the title.

import { h } from "./dom.js";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "42 s", "12 min", "5 h", "3 d": two digits are more than anybody needs. */
export function span(seconds) {
  const all = Math.max(0, seconds);
  if (all < 10) return `${all < 0.05 ? 0 : all.toFixed(1)} s`;
  if (all < 2 * MINUTE) return `${Math.round(all)} s`;
  if (all < 2 * HOUR) return `${Math.round(all / MINUTE)} min`;
  if (all < 2 * DAY) return `${Math.round(all / HOUR)} h`;
  return `${Math.round(all / DAY)} d`;
}

export function secondsSince(at) {
  return (Date.now() - Date.parse(at)) / 1000;
}

/** "12 s ago", "in 3 min". */
export function relative(at) {
  const past = secondsSince(at);
  if (Number.isNaN(past)) return String(at);
  if (Math.abs(past) < 1) return "now";
  const size = span(Math.abs(past) < 10 ? Math.round(Math.abs(past)) : Math.abs(past));
  const words = size.replace(/\.0 s$/, " s");
  return past > 0 ? `${words} ago` : `in ${words}`;
}

export function exact(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) + ` (${at})`;
}

/** The time of day; with the day where it is another one. */
export function clock(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  const time = date.toLocaleTimeString("en-GB");
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? time : `${date.toLocaleDateString("en-CA")} ${time}`;
}

/** A time that stays right while it is looked at; "–" where there is none. */
export function ago(at) {
  if (!at) return h("span", { class: "faint" }, "–");
  return h("time", { datetime: at, title: exact(at), "data-live": true }, relative(at));
}

export function atClock(at) {
  if (!at) return h("span", { class: "faint" }, "–");
  return h("time", { datetime: at, title: `${exact(at)}, ${relative(at)}`, class: "mono" }, clock(at));
}

/** What is shown of times is made new once a second, where it changed. */
export function keepTimesRight() {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[data-live]")) {
      const words = relative(element.dateTime);
      if (element.textContent !== words) element.textContent = words;
    }
  }, 1000);
}
