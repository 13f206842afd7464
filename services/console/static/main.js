// The application: who is logged in, which view is shown, and whether the server answers.

import { get, remove, server, ApiError } from "./api.js";
import { button, h, link, place, replace } from "./dom.js";
import { readPlace } from "./places.js";
import { keepTimesRight } from "./times.js";
import { themeSwitch } from "./theme_switch.js";
import * as account from "./views/account.js";
import * as connection from "./views/connection.js";
import * as connections from "./views/connections.js";
import * as events from "./views/events.js";
import * as explain from "./views/explain.js";
import * as login from "./views/login.js";
import * as overview from "./views/overview.js";
import * as replay from "./views/replay.js";
import * as subscription from "./views/subscription.js";
import * as subscriptions from "./views/subscriptions.js";

const VIEWS = { overview, events, accounts: account, subscriptions, connections, explain, replay };
const WITH_ID = { subscriptions: subscription, connections: connection };
const NAV = [
  ["overview", "Overview"],
  ["events", "Events"],
  ["subscriptions", "Subscriptions"],
  ["connections", "Connections"],
  ["explain", "Explain"],
  ["replay", "Replay"],
];
const LOOK_AGAIN_MS = 2000;
const HINT = "tidings-logged-in";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");
const banner = document.getElementById("banner");

let session = null;
let leaving = new AbortController();
let looksForServer = false;

function show(view, where) {
  leaving.abort();
  leaving = new AbortController();
  const heading = h("h1", { tabindex: "-1" }, view.title);
  replace(main);
  document.title = `${where.id ? `${where.id.slice(0, 40)} · ` : ""}${view.title} · Tidings Console`;
  view.show(main, { ...where, heading, signal: leaving.signal, entered });
  for (const one of nav.querySelectorAll("a")) {
    if (one.dataset.view === where.view) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (!main.contains(document.activeElement)) heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function route() {
  if (session === null) return;
  const where = readPlace(location.hash);
  const view = where.id === null ? VIEWS[where.view] : (WITH_ID[where.view] ?? VIEWS[where.view]);
  if (view === undefined) location.replace(place("overview"));
  else show(view, where);
}

function entered(facts) {
  session = facts;
  hint(true);
  nav.hidden = false;
  replace(
    nav,
    NAV.map(([view, words]) => link(words, place(view), { "data-view": view })),
  );
  replace(
    who,
    h("span", { class: "who-name", title: `Logged in as ${facts.user}` }, h("bdi", {}, facts.user)),
    themeSwitch(),
    button("Log out", logOut, { class: "quiet" }),
  );
  route();
}

function logIn(because = null) {
  session = null;
  hint(false);
  nav.hidden = true;
  replace(nav);
  replace(who, themeSwitch());
  show(login, { view: "login", id: null, query: new URLSearchParams(), because });
}

async function logOut() {
  try {
    await remove("session");
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) {
      showBanner(`Not logged out: ${error.message}`);
      return;
    }
  }
  logIn("You have logged out.");
}

function showBanner(text) {
  banner.hidden = false;
  replace(banner, text);
}

/** Looks for the server until it answers, then shows the view anew. */
async function lookForServer(because = "The server does not answer.") {
  if (looksForServer) return;
  looksForServer = true;
  showBanner(`${because} What you see may be old; it is tried again every few seconds.`);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    try {
      const facts = await get("session");
      looksForServer = false;
      banner.hidden = true;
      if (session === null) entered(facts);
      else route();
      return;
    } catch (error) {
      if (error.status === 401) {
        looksForServer = false;
        banner.hidden = true;
        ended();
        return;
      }
    }
  }
}

function ended() {
  if (session !== null) logIn("Your session has ended: it expired, or its token was revoked. Log in again.");
  else if (!main.firstChild) logIn();
}

/** Whether a cookie may be there, which no script can see: to ask in vain is an error in the log. */
function hint(isThere) {
  try {
    if (isThere) localStorage.setItem(HINT, "1");
    else localStorage.removeItem(HINT);
  } catch {
    // Storage is forbidden here: who opens the page anew logs in anew.
  }
}

function isHinted() {
  try {
    return localStorage.getItem(HINT) !== null;
  } catch {
    return false;
  }
}

server.addEventListener("ended", ended);
server.addEventListener("away", () => lookForServer());
window.addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
keepTimesRight();
if (!isHinted()) logIn();
else {
  try {
    entered(await get("session"));
  } catch (error) {
    if (error.status === 401) logIn("Your session has ended. Log in again.");
    else if (error.status >= 500) lookForServer(error.message);
    else if (error.status !== 0) logIn(error.message);
  }
}
