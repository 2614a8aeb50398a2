// The nodes that can answer: the one this page came from first, then those it has named.
//
// A node that does not answer is passed over until a look at its health finds it back. One that cannot
// give what is asked (its own upstream is away) is passed over for that request alone. Equal digests are
// equal bytes at every node, so a frame that breaks off is gone on with elsewhere, from the byte it stopped at.

const LIST = "nearframe:nodes";
const LIST_URL = "/api/edges";
const LEARN_MS = 300_000;
const LOOK_MS = 5000;
const PATIENCE_MS = 8000; // for the head of an answer, while another node could be asked
const CANNOT = new Set([502, 503, 504]);
const PASSED_ON = ["accept", "authorization", "if-none-match", "range"];

/** @typedef {{url: string, away: boolean, lookedAt: number}} Node */

/** @type {Node} */
const home = { url: self.location.origin, away: false, lookedAt: 0 };
let nodes = [home];
let learntAt = 0;
/** @type {WeakMap<Response, Node>} */
const answeredBy = new WeakMap();
const remembered = remember();

/** @param {URL} url @returns {boolean} whether one of the nodes is meant */
export function isOurs(url) {
  return nodes.some((node) => new URL(node.url).origin === url.origin);
}

/** Ask the node which others there are; without an answer, those known before stay. */
export async function learn() {
  learntAt = Date.now();
  try {
    const response = await fetch(LIST_URL, { cache: "no-store" });
    if (!response.ok) return;
    const text = await response.text();
    take(JSON.parse(text));
    await (await caches.open(LIST)).put(LIST_URL, new Response(text));
  } catch {
    // A node of an earlier release has no list, and one that is away gives none.
  }
}

async function remember() {
  const stored = await (await caches.open(LIST)).match(LIST_URL).catch(() => undefined);
  if (stored) take(await stored.json());
}

/** @param {{edges: {name: string, url: string, healthy: boolean}[], self: string}} list nearest first */
function take(list) {
  const others = list.edges.filter((one) => one.name !== list.self && new URL(one.url).origin !== home.url);
  const known = new Map(nodes.map((node) => [node.url, node]));
  const ordered = [...others.filter((one) => one.healthy), ...others.filter((one) => !one.healthy)];
  nodes = [home, ...ordered.map(({ url }) => known.get(url) ?? { url, away: false, lookedAt: 0 })];
}

/**
 * Fetch from the first node that can answer.
 *
 * @param {Request} request a GET for something of ours, addressed to any node
 * @param {Node[]} [tried] nodes that are not asked
 * @returns {Promise<Response>}
 * @throws if no node answers at all
 */
export async function fetchAnywhere(request, tried = []) {
  await remembered;
  if (Date.now() - learntAt > LEARN_MS) learn();
  const open = nodes.filter((node) => !tried.includes(node));
  const order = [...open.filter((node) => !node.away), ...open.filter((node) => node.away)];
  order.filter((node) => node.away).forEach(look);
  let refusal = null;
  for (const [index, node] of order.entries()) {
    const response = await ask(node, request, index < order.length - 1).catch(() => null);
    if (request.signal.aborted) throw new DOMException("the page no longer wants it", "AbortError");
    node.away = !response;
    if (response) answeredBy.set(response, node);
    if (response && !CANNOT.has(response.status)) return response;
    refusal ??= response;
  }
  if (refusal) return refusal;
  throw new TypeError("no node answers");
}

/**
 * @param {Node} node
 * @param {Request} request
 * @param {boolean} hasNext whether another node can be asked instead of waiting
 * @returns {Promise<Response>}
 */
async function ask(node, request, hasNext) {
  const late = new AbortController();
  const timer = hasNext ? setTimeout(() => late.abort(), PATIENCE_MS) : 0;
  const signal = AbortSignal.any([request.signal, late.signal]);
  const { origin, pathname, search } = new URL(request.url);
  try {
    if (origin === new URL(node.url).origin) return await fetch(request, { signal });
    const options = { headers: passedOn(request), signal, mode: "cors", credentials: "omit" };
    const { body, status, headers } = await fetch(node.url + pathname + search, options);
    // Without the other node's address: a page's own policy may allow it answers of its node only.
    return new Response(body, { status, headers });
  } finally {
    clearTimeout(timer);
  }
}

/** @param {Request} request */
function passedOn(request) {
  const headers = new Headers();
  for (const name of PASSED_ON) if (request.headers.has(name)) headers.set(name, request.headers.get(name));
  return headers;
}

/** @param {Node} node which was away: one look at a time whether it is back */
function look(node) {
  if (Date.now() - node.lookedAt < LOOK_MS) return;
  node.lookedAt = Date.now();
  fetch(`${node.url}/healthz`, { cache: "no-store", mode: "no-cors" })
    .then((response) => { node.away = response.type !== "opaque" && !response.ok; })
    .catch(() => undefined);
}

/**
 * Return a frame's answer that goes on from another node where this one breaks off.
 *
 * @param {Request} request
 * @param {Response} response
 * @returns {Response}
 */
export function unbroken(request, response) {
  const etag = response.headers.get("etag");
  if (response.status !== 200 || !etag || !response.body) return response;
  let reader = response.body.getReader();
  let sent = 0;
  let node = answeredBy.get(response);
  const body = new ReadableStream({
    async pull(controller) {
      const read = await reader.read().catch(() => null);
      if (!read) {
        [reader, node] = await goOn(request, etag, sent, node); // an error here ends the answer, unfinished
        return this.pull(controller);
      }
      if (read.done) {
        controller.close();
        return undefined;
      }
      sent += read.value.byteLength;
      controller.enqueue(read.value);
      return undefined;
    },
    cancel(reason) { return reader.cancel(reason); },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

/** @param {Request} request @param {string} etag @param {number} from @param {Node} broken */
async function goOn(request, etag, from, broken) {
  const rest = new Request(request.url, { headers: { ...Object.fromEntries(request.headers), range: `bytes=${from}-` } });
  const response = await fetchAnywhere(rest, [broken]);
  const begins = (response.headers.get("content-range") ?? "").startsWith(`bytes ${from}-`);
  if (response.status !== 206 || response.headers.get("etag") !== etag || !begins) throw new TypeError("no node has the rest");
  return [response.body.getReader(), answeredBy.get(response)];
}
