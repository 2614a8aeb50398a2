// The service worker of a node: frames by digest, and another node when this one is away.
//
//   page ── GET …/frames/N ──> table (once per study): which bytes would that be?
//                              held here under that name? answered without the network
//                              else fetched, hashed, kept if it is what it says
//        ── GET …/metadata ──> fetched; the kept copy if no node answers
//        ── other GET      ──> fetched, from the next node if one is away
//
// Whatever fails here falls through to the network: the worker may save a request, never cost an answer.
// Its own address says how much it may keep: ?keep=session|persistent&bytes=N.

import { answerDocument } from "./documents.js";
import { answerFrame } from "./frames.js";
import * as nodes from "./nodes.js";
import { forget, rules } from "./studies.js";

const FRAME = /^\/dicomweb\/studies\/([0-9.]+)\/series\/[0-9.]+\/instances\/([0-9.]+)\/frames\/([1-9]\d*)$/;
const DOCUMENT = /^\/dicomweb\/studies\/([0-9.]+)\/(?:.+\/)?(?:metadata|series|instances)$/;
const TENANT = "nearframe-tenant";

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([self.clients.claim(), nodes.learn()]));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") {
    if (rules.keep === "session") event.respondWith(beginSession(request));
    return;
  }
  const url = new URL(request.url);
  if (!nodes.isOurs(url) || !url.pathname.startsWith("/dicomweb/")) return;
  if (request.headers.has(TENANT)) return; // what is kept is of the node's own tenant
  event.respondWith(answer(event, url).catch(() => fetch(request)));
});

/**
 * @param {FetchEvent} event
 * @param {URL} url
 * @returns {Promise<Response>}
 */
function answer(event, url) {
  const frame = url.search ? null : FRAME.exec(url.pathname);
  if (frame) return answerFrame(event, { study: frame[1], instance: frame[2], number: Number(frame[3]) });
  const document = DOCUMENT.exec(url.pathname);
  if (document) return answerDocument(event, document[1]);
  return nodes.fetchAnywhere(event.request);
}

/**
 * A navigation while no page of this node is open begins a session: nothing of the last one is left.
 *
 * @param {Request} request
 * @returns {Promise<Response>}
 */
async function beginSession(request) {
  const open = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (!open.length) await forget();
  return fetch(request);
}
