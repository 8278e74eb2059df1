// The page /ring: chooses a product, follows it, and shows the nodes as they are now.

import { ask, keepAsking, Unanswered } from "./asking.js";
import { coloursOf, draw, numbersOf } from "./drawing.js";
import { html, show } from "./elements.js";
import { around, chip, resultOf, tell } from "./story.js";
import { bytes, clockTime, list, milliseconds, number, percent, say } from "./texts.js";

const AGAIN_MS = 2000;
const SEARCH_PAUSE_MS = 250;
const MOST_LINES = 100;

const element = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
const page = {
  cluster: null,
  trace: null,
  product: address.get("product"),
  states: new Map(),
  names: new Map(),
  away: false,
  busy: false,
  outdated: false,
};
let lastDrawn = "";

// What is chosen

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value ?? null;

function takeChoicesFromAddress() {
  for (const name of ["operation", "level"]) {
    const input = document.querySelector(`input[name="${name}"][value="${CSS.escape(address.get(name) ?? "")}"]`);
    if (input) {
      input.checked = true;
    }
  }
}

function keepChoicesInAddress() {
  address.set("product", page.product);
  address.set("operation", chosen("operation"));
  address.set("level", chosen("level"));
  history.replaceState(null, "", `?${address}`);
  for (const link of document.querySelectorAll("a.language")) {
    const target = new URLSearchParams(address);
    target.set("lang", link.lang);
    link.href = `?${target}`;
  }
}

async function listProducts() {
  const search = element("search").value.trim();
  const note = element("products-note");
  try {
    const answer = await ask("/products", search ? { search, limit: 50 } : { limit: 50 });
    if (search !== element("search").value.trim()) {
      return; // a later search is on its way
    }
    element("products").replaceChildren(...answer.products.map(productRow));
    show(note, ...(answer.products.length ? [] : [say("products_none")]));
  } catch (error) {
    if (!(error instanceof Unanswered)) {
      throw error;
    }
    show(note, say("products_failed", { reason: error.reason }));
  }
  note.hidden = note.textContent === "";
}

function productRow(product) {
  page.names.set(product.product_id, product.name);
  const input = html("input", { type: "radio", name: "product", value: product.product_id });
  input.checked = product.product_id === page.product;
  return html(
    "label",
    {},
    input,
    html("span", { class: "name" }, product.name),
    html("span", { class: "sku" }, product.sku),
  );
}

// Following

async function follow() {
  if (!page.product) {
    return;
  }
  if (page.busy) {
    page.outdated = true; // something else was chosen meanwhile: that is followed next
    return;
  }
  const button = element("follow");
  keepChoicesInAddress();
  page.busy = true;
  button.disabled = false;
  show(button, say("following"));
  const choices = { operation: chosen("operation"), level: chosen("level") };
  try {
    page.trace = await ask(`/cluster/trace/${page.product}`, choices);
    note(outcomeOf(page.trace));
  } catch (error) {
    if (!(error instanceof Unanswered)) {
      throw error;
    }
    const outcome = error.reason || say("outcome_FAILED");
    note(say(choices.operation === "READ" ? "log_read" : "log_write", { level: choices.level, outcome }));
  } finally {
    page.busy = false;
    show(button, say("follow"));
    refresh();
  }
  if (page.outdated) {
    page.outdated = false;
    await follow();
  }
}

function outcomeOf(trace) {
  const answered = trace.replicas.filter((replica) => replica.answered_ms !== null).map((replica) => replica.address);
  const values = { coordinator: trace.coordinator, answered: list(answered), ms: milliseconds(trace.took_ms) };
  const outcome = trace.outcome === "ANSWERED" ? say("outcome_ANSWERED", values) : resultOf(trace);
  return say(trace.operation === "READ" ? "log_read" : "log_write", { level: trace.level, outcome });
}

async function followAgain() {
  while (element("again").checked) {
    await follow();
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

// What happened

function note(sentence) {
  const now = new Date();
  const time = html("time", { datetime: now.toISOString() }, clockTime(now));
  element("log-empty").hidden = true;
  element("log-box").hidden = false;
  element("log").prepend(html("li", {}, time, html("span", {}, sentence)));
  while (element("log").children.length > MOST_LINES) {
    element("log").lastElementChild.remove();
  }
}

function noteChanges(cluster) {
  for (const node of cluster.nodes) {
    const before = page.states.get(node.address);
    if (before && before !== node.state) {
      note(say("log_state", { node: node.address, state: say(node.state) }));
    }
    page.states.set(node.address, node.state);
  }
}

// The nodes, live

function clusterAnswered(cluster) {
  noteChanges(cluster);
  page.cluster = cluster;
  show(element("service-text"), say(page.away ? "service_back" : "service_up"));
  element("service").classList.remove("away");
  if (page.away) {
    page.away = false;
    listProducts();
  }
  refresh();
}

function clusterFailed(error, seconds) {
  page.away = true;
  element("service").classList.add("away");
  const sentence = error.reason ? "service_refuses" : "service_away";
  show(element("service-text"), say(sentence, { reason: error.reason, seconds: number(seconds) }));
}

/** Show what is known; the drawing only if it changed, so that nothing moves without a reason. */
function refresh() {
  const { cluster, trace } = page;
  if (!cluster) {
    return;
  }
  const colours = coloursOf(cluster);
  showNodes(cluster, colours);
  showCommands(cluster);
  tell(cluster, trace, colours, trace && (trace.name ?? page.names.get(trace.product_id)));
  const drawn = JSON.stringify([cluster.nodes.map((node) => [node.address, node.state, node.tokens]), trace]);
  if (drawn !== lastDrawn) {
    lastDrawn = drawn;
    draw(element("ring"), cluster, trace);
    show(element("ring-description"), describe(cluster, trace));
    if (trace) {
      showEvents(trace, colours);
    }
  }
}

/** Say how to stop a node of the lab, whose clusters are named as their directories. */
function showCommands(cluster) {
  const command = (words) => html("code", {}, `store-manager lab --name ${cluster.name} ${words}`);
  const commands = { kill: "kill 2", freeze: "freeze 2", start: "start 2", thaw: "thaw 2" };
  const shown = Object.entries(commands).map(([name, words]) => [name, command(words)]);
  show(element("try"), ...around("try_text", Object.fromEntries(shown)));
}

function describe(cluster, trace) {
  const states = list(cluster.nodes.map((node) => `${node.address} ${say(node.state)}`));
  const replicas = trace?.replicas.map((replica) => replica.address) ?? [];
  const product = replicas.length ? say("ring_product", { owner: replicas[0], replicas: list(replicas) }) : "";
  return say("ring_description", { nodes: number(cluster.nodes.length), states: `${states}.`, product });
}

function showNodes(cluster, colours) {
  const numbers = numbersOf(cluster);
  const rows = cluster.nodes.map((node) => {
    const tokens = node.tokens.length === 1 ? node.tokens[0] : say("tokens_many", { count: node.tokens.length });
    const cells = [
      ["state", html("span", { class: stateClass(node.state) }, say(stateText(node)))],
      ["seen_by", sights(node)],
      ["token_column", html("span", { class: "token" }, tokens)],
      ["share", percent(node.share)],
      ["load", node.load_bytes === null ? "–" : bytes(node.load_bytes)],
      ["answer_time", node.answer_ms === null ? "–" : `${milliseconds(node.answer_ms)} ms`],
      ["place", `${node.datacenter}, ${node.rack}`],
      ["schema", node.schema_version ? html("code", {}, node.schema_version.slice(0, 8)) : "–"],
    ];
    const name = html("span", { class: "chip" }, `${numbers.get(node.address)}`, chip(node.address, colours, node.state));
    return html(
      "tr",
      { role: "row", "data-node": node.address, "data-state": node.state },
      html("th", { scope: "row", role: "rowheader" }, name),
      cells.map(([label, value]) => html("td", { role: "cell", "data-label": say(label) }, html("span", {}, value))),
    );
  });
  show(element("nodes").tBodies[0], rows);
  element("schema-split").hidden = cluster.schema_agreed;
}

const stateClass = (state) => ({ UP: "", SILENT: "warn", DOWN: "bad", UNKNOWN: "" })[state];

/** A node of another data centre is not asked: that it is up, only the others say. */
const stateText = (node) => (node.state === "UP" && node.answer_ms === null ? "state_SEEN" : `state_${node.state}`);

function sights(node) {
  const by = (alive) => node.seen_by.filter((sight) => sight.alive === alive).map((sight) => sight.address);
  const told = [
    by(true).length ? say("seen_alive", { nodes: list(by(true)) }) : "",
    by(false).length ? say("seen_away", { nodes: list(by(false)) }) : "",
    by(null).length ? say("seen_unknown") : "",
  ].filter(Boolean);
  return told.join("; ") || say("seen_nobody");
}

function showEvents(trace, colours) {
  element("events-empty").hidden = trace.events.length > 0;
  element("events-box").hidden = trace.events.length === 0;
  show(element("events").caption, say(trace.operation === "READ" ? "events_read" : "events_write"));
  const rows = trace.events.map((event) =>
    html(
      "tr",
      {},
      html("td", {}, chip(event.node, colours)),
      html("td", { class: "number" }, `${milliseconds(event.elapsed_ms)} ms`),
      html("td", { lang: "en" }, event.activity),
    ),
  );
  show(element("events").tBodies[0], rows);
}

// The beginning

let searching;
element("search").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(listProducts, SEARCH_PAUSE_MS);
});
element("products").addEventListener("change", (event) => {
  page.product = event.target.value;
  follow();
});
element("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  follow();
});
element("again").addEventListener("change", followAgain);
for (const input of document.querySelectorAll('input[name="level"], input[name="operation"]')) {
  input.addEventListener("change", follow);
}

takeChoicesFromAddress();
listProducts();
keepAsking("/cluster", { answered: clusterAnswered, failed: clusterFailed });
if (page.product) {
  follow();
}
