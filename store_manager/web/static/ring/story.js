// Tells the way of one product: product, token, replicas, answers, and what is left if one dies.

import { html, show } from "./elements.js";
import { has, list, milliseconds, say } from "./texts.js";

const element = (id) => document.getElementById(id);

/** Return a node's name with its colour beside it. */
export function chip(address, colours, state = "UP") {
  const swatch = html("span", { class: "swatch", "aria-hidden": "true" });
  const colour = colours.get(address) ?? "var(--soft)";
  swatch.style.borderColor = colour;
  if (state === "UP") {
    swatch.style.background = colour;
  }
  return html("span", { class: "chip" }, swatch, address);
}

const mark = (kind) =>
  html("span", { class: `mark ${kind}`, "aria-hidden": "true" }, { yes: "✓", no: "✗", none: "–" }[kind]);

/** How many of so many replicas each level needs. */
export const NEEDED = {
  ONE: () => 1,
  LOCAL_ONE: () => 1,
  QUORUM: (total) => Math.floor(total / 2) + 1,
  LOCAL_QUORUM: (total) => Math.floor(total / 2) + 1,
  ALL: (total) => total,
};

/** Return the sentence for how a read or a write ended. */
export function resultOf(trace) {
  const [failure] = trace.failures;
  const answered = trace.replicas.filter((replica) => replica.answered_ms !== null).length;
  const values = { level: trace.level, answered, total: trace.replicas.length, ...failure };
  const names = [
    `result_${trace.outcome}_${failure?.reason}`,
    `result_${trace.outcome}_${trace.operation}`,
    `result_${trace.outcome}`,
  ];
  return say(names.find(has), values);
}

/** Tell everything that is known, nothing as long as no product was followed; `name` is that of the product. */
export function tell(cluster, trace, colours, name) {
  element("story-empty").hidden = trace !== null;
  element("steps").hidden = trace === null;
  if (trace === null) {
    return;
  }
  const states = new Map(cluster.nodes.map((node) => [node.address, node.state]));
  tellProduct(trace, name);
  tellReplicas(cluster, trace, colours, states);
  tellAnswers(trace, colours, states);
  tellLoss(trace, states);
}

const step = (name, ...children) => show(element(`step-${name}`).querySelector("div"), ...children);

function tellProduct(trace, name) {
  const title = name ? html("p", { class: "big" }, name) : "";
  step("product", title, html("p", {}, ...around("product_text", { key: html("span", { class: "key" }, trace.key) })));
  step("token", html("p", { class: "big token" }, trace.token), html("p", { class: "note" }, say("token_text")));
}

function tellReplicas(cluster, trace, colours, states) {
  const rows = trace.replicas.map((replica, index) =>
    html("li", {}, `${index + 1}.`, chip(replica.address, colours, states.get(replica.address))),
  );
  const copies = list(cluster.copies.map((one) => say("copies", one)));
  const owner = trace.replicas[0]?.address ?? say("nobody");
  step(
    "replicas",
    html("ol", {}, rows),
    html("p", { class: "note" }, say("replicas_text", { owner, keyspace: cluster.keyspace, copies })),
  );
}

function tellAnswers(trace, colours, states) {
  const isReplica = trace.replicas.some((replica) => replica.address === trace.coordinator);
  const met = trace.outcome === "ANSWERED";
  const sentence = met ? (isReplica ? "coordinator_text" : "coordinator_other") : "coordinator_failed";
  const ms = milliseconds(trace.coordinated_ms ?? trace.took_ms);
  const others = trace.asked.filter((address) => address !== trace.coordinator);
  const kind = { ANSWERED: "", REFUSED: "warn", FAILED: "bad", UNKNOWN: "warn" }[trace.outcome];
  step(
    "answers",
    html("p", { class: kind }, html("strong", {}, resultOf(trace))),
    html("ul", {}, trace.replicas.map((replica) => partOf(replica, trace, colours, states))),
    trace.coordinator ? html("p", { class: "note" }, say(sentence, { coordinator: trace.coordinator, ms })) : "",
    others.length ? html("p", { class: "note" }, say("also_asked", { others: list(others) })) : "",
    trace.coordinator && !trace.complete ? html("p", { class: "note" }, say("trace_incomplete")) : "",
  );
}

function partOf(replica, trace, colours, states) {
  const name = chip(replica.address, colours, states.get(replica.address));
  if (replica.answered_ms !== null) {
    return html("li", {}, mark("yes"), name, say("answered", { ms: milliseconds(replica.answered_ms) }));
  }
  if (replica.asked) {
    return html("li", { class: "bad" }, mark("no"), name, say("no_answer"));
  }
  return html("li", {}, mark("none"), name, say(whyNot(replica, trace, states)));
}

function whyNot(replica, trace, states) {
  if (replica.up === false || states.get(replica.address) === "DOWN") {
    return "not_asked_down";
  }
  if (trace.events.length === 0) {
    return "not_known";
  }
  return trace.outcome === "ANSWERED" ? "not_needed" : "not_asked";
}

function tellLoss(trace, states) {
  const total = trace.replicas.length;
  const alive = trace.replicas.filter((replica) => states.get(replica.address) === "UP").length;
  const rows = ["ONE", "QUORUM", "ALL"].map((level) => {
    const needed = NEEDED[level](total);
    if (alive === total) {
      return html("li", {}, mark("none"), html("strong", {}, level), say("loss_tolerates", { count: total - needed, total }));
    }
    const possible = alive >= needed;
    const sentence = say(possible ? "loss_yes" : "loss_no", { needed, total });
    return html("li", {}, mark(possible ? "yes" : "no"), html("strong", {}, level), sentence);
  });
  const sentence = alive === total ? "loss_all_up" : "loss_some";
  step(
    "loss",
    html("p", {}, say(sentence, { total, alive, away: total - alive })),
    html("ul", { class: "levels" }, rows),
    html("p", { class: "note" }, say("loss_write")),
  );
}

/** Return the parts of a sentence with elements in its gaps. */
export function around(name, elements) {
  const gaps = Object.keys(elements);
  const parts = say(name, Object.fromEntries(gaps.map((gap) => [gap, `\u0000${gap}\u0000`]))).split("\u0000");
  return parts.map((part, index) => (index % 2 ? elements[part] : part));
}
