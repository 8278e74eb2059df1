// Draws the ring: the nodes and their ranges, where the product's token is, and the way of its last read or write.

import { svg } from "./elements.js";
import { milliseconds, say } from "./texts.js";

const RADIUS = 132;
const SERVICE_RADIUS = 36;
const FIRST_TOKEN = -(2n ** 63n);
const ALL_TOKENS = 2n ** 64n;
const KINDS = 9;

/** Return where a token is on the ring, from 0 to 1, clockwise from the top. */
const turnOf = (token) => Number(((BigInt(token) - FIRST_TOKEN) * 1000000n) / ALL_TOKENS) / 1000000;

const at = (turn, radius) => [
  Math.round(radius * Math.sin(2 * Math.PI * turn) * 100) / 100,
  Math.round(-radius * Math.cos(2 * Math.PI * turn) * 100) / 100,
];

function arcBetween(from, to, radius) {
  const span = (to - from + 1) % 1 || 1;
  const points = Array.from({ length: 3 }, (_, part) => at(from + (span * part) / 2, radius).join(" "));
  const large = span / 2 > 0.5 ? 1 : 0;
  return `M ${points[0]} A ${radius} ${radius} 0 ${large} 1 ${points[1]} A ${radius} ${radius} 0 ${large} 1 ${points[2]}`;
}

/** Return the colour of each node by its address; the same for as long as the nodes are the same. */
export function coloursOf(cluster) {
  return new Map(cluster.nodes.map((node, index) => [node.address, `var(--node-${index % KINDS})`]));
}

/** Return the number of each node, as it stands in its circle and in the tables. */
export function numbersOf(cluster) {
  return new Map(cluster.nodes.map((node, index) => [node.address, index + 1]));
}

/** A node with one token stands there; nodes with many stand inside of the ring, in the order of the table. */
function placesOf(cluster) {
  const single = cluster.nodes.every((node) => node.tokens.length === 1);
  return new Map(
    cluster.nodes.map((node, index) => {
      const turn = single ? turnOf(node.tokens[0]) : index / cluster.nodes.length;
      return [node.address, { turn, radius: single ? RADIUS : RADIUS - 46, single }];
    }),
  );
}

/** Draw everything anew. */
export function draw(target, cluster, trace) {
  const colours = coloursOf(cluster);
  const places = placesOf(cluster);
  target.replaceChildren(
    ...drawRanges(cluster, colours, trace),
    ...(trace ? drawWay(trace, places) : []),
    ...(trace ? drawToken(cluster, trace) : []),
    ...(trace ? [drawService(trace)] : []),
    ...cluster.nodes.map((node) => drawNode(node, places.get(node.address), colours, numbersOf(cluster))),
    ...(trace ? drawRanks(trace, places) : []),
  );
}

function rangeOf(cluster, token) {
  const wanted = BigInt(token);
  return cluster.ranges.find((range) => wanted <= BigInt(range.until)) ?? cluster.ranges[0];
}

function drawRanges(cluster, colours, trace) {
  const home = trace && cluster.ranges.length ? rangeOf(cluster, trace.token) : null;
  return [
    svg("circle", { class: "track", r: RADIUS }),
    ...cluster.ranges.map((range) => {
      const path = svg("path", {
        class: `arc ${!trace || range === home ? "holds" : ""}`,
        d: arcBetween(turnOf(range.after), turnOf(range.until), RADIUS),
      });
      path.style.stroke = colours.get(range.owner);
      return path;
    }),
  ];
}

function drawNode(node, place, colours, numbers) {
  const colour = colours.get(node.address);
  const [x, y] = at(place.turn, place.radius);
  const badge = svg("circle", { cx: x, cy: y, r: 17 });
  badge.style.stroke = colour;
  if (node.state === "UP") {
    badge.style.fill = colour;
  }
  const label = labelOf(node, place);
  return svg(
    "g",
    { class: `node ${node.state}`, "data-node": node.address },
    badge,
    node.state === "DOWN" ? cross(x, y) : "",
    svg("text", { class: "number", x, y }, String(numbers.get(node.address))),
    ...label,
  );
}

function cross(x, y) {
  const line = svg("path", { class: "cross", d: `M ${x - 21} ${y - 21} l 42 42 m 0 -42 l -42 42` });
  line.style.stroke = "var(--bad)";
  line.style.opacity = "0.85";
  return line;
}

/** Names stand outside of the ring, beside their node; inside of it there is room for the numbers only. */
function labelOf(node, place) {
  const [x, y] = at(place.turn, place.single ? RADIUS + 30 : place.radius);
  if (!place.single) {
    const state = node.state === "UP" ? "" : say(node.state);
    return [svg("text", { class: `small state ${node.state}`, x, y: y + 27 }, state)];
  }
  const side = Math.sin(2 * Math.PI * place.turn);
  const beside = Math.abs(side) > 0.3;
  const anchor = beside ? (side > 0 ? "start" : "end") : "middle";
  const lift = beside ? 0 : y < 0 ? -12 : 8;
  return [
    svg("text", { x, y: y + lift - 8, "text-anchor": anchor }, node.address),
    svg("text", { class: `small state ${node.state}`, x, y: y + lift + 8, "text-anchor": anchor }, say(node.state)),
  ];
}

function drawToken(cluster, trace) {
  const turn = turnOf(trace.token);
  const [x, y] = at(turn, RADIUS);
  const marker = svg("path", {
    class: "marker",
    "data-token": trace.token,
    d: `M ${x} ${y - 10} l 9 10 l -9 10 l -9 -10 z`,
  });
  if (!cluster.ranges.length) {
    return [marker];
  }
  const end = turnOf(rangeOf(cluster, trace.token).until);
  return [svg("path", { class: "walk", d: arcBetween(turn, end, RADIUS - 19) }), marker];
}

function drawRanks(trace, places) {
  return trace.replicas.map((replica, index) => {
    const place = places.get(replica.address);
    if (!place) {
      return "";
    }
    const [x, y] = at(place.turn, place.radius);
    return svg(
      "g",
      { class: "rank" },
      svg("circle", { cx: x + 17, cy: y - 15, r: 9 }),
      svg("text", { x: x + 17, y: y - 15 }, String(index + 1)),
    );
  });
}

function drawService(trace) {
  return svg(
    "g",
    { class: "heart" },
    svg("circle", { r: SERVICE_RADIUS }),
    svg("text", { class: "small", y: -8 }, say("service")),
    svg("text", { y: 9 }, `${milliseconds(trace.took_ms)} ms`),
  );
}

/** From the service to the coordinator, and from there to each replica that it asked. */
function drawWay(trace, places) {
  const coordinator = places.get(trace.coordinator);
  if (!coordinator) {
    return [];
  }
  const from = at(coordinator.turn, coordinator.radius);
  const start = at(coordinator.turn, SERVICE_RADIUS);
  const client = svg("path", { class: "hop client", d: `M ${start.join(" ")} L ${from.join(" ")}` });
  const others = trace.replicas
    .filter((replica) => replica.asked && replica.address !== trace.coordinator && places.has(replica.address))
    .map((replica) => {
      const place = places.get(replica.address);
      const to = at(place.turn, place.radius);
      const bend = [(from[0] + to[0]) * 0.36, (from[1] + to[1]) * 0.36];
      return svg("path", {
        class: `hop ${replica.answered_ms === null ? "missed" : ""}`,
        "data-replica": replica.address,
        d: `M ${from.join(" ")} Q ${bend.map((one) => one.toFixed(1)).join(" ")} ${to.join(" ")}`,
      });
    });
  return [client, ...others];
}
