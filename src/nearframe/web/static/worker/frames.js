// A frame: by its validator from what is held, else from a node, and kept if it is what it says.

import { fetchAnywhere, unbroken } from "./nodes.js";
import { digestOf, payloadOf } from "./payload.js";
import { held, keep, noteUse } from "./studies.js";
import { validatorOf } from "./tables.js";

const DIGEST_CHARS = 64;

/**
 * @param {FetchEvent} event
 * @param {{study: string, instance: string, number: number}} frame
 * @returns {Promise<Response>}
 */
export async function answerFrame(event, frame) {
  const { request } = event;
  const validator = await validatorOf(request, frame).catch(() => undefined);
  if (validator) {
    const found = await held(frame.study, validator).catch(() => undefined);
    const answer = found && (await part(found, request.headers.get("range")));
    if (answer) {
      event.waitUntil(noteUse(frame.study));
      return answer;
    }
  }
  const response = unbroken(request, await fetchAnywhere(request));
  if (validator && mayBeKept(response)) event.waitUntil(keepFrame(frame.study, response.clone()).catch(() => undefined));
  return response;
}

/** @param {Response} response */
function mayBeKept(response) {
  return response.status === 200 && !response.headers.get("cache-control")?.includes("no-store");
}

/**
 * Keep a frame under its own validator, which may be newer than the table: a rendition was made meanwhile.
 *
 * @param {string} study
 * @param {Response} response
 */
async function keepFrame(study, response) {
  const validator = response.headers.get("etag")?.slice(1, -1) ?? "";
  const contentType = response.headers.get("content-type") ?? "";
  const body = await response.arrayBuffer();
  const payload = payloadOf(body, contentType);
  if (!payload || (await digestOf(payload)) !== validator.slice(0, DIGEST_CHARS)) return;
  const headers = { "content-type": contentType, "content-length": String(body.byteLength), etag: `"${validator}"` };
  await keep(study, validator, () => new Response(body, { headers }));
}

/**
 * Answer with a held frame, or with the one range of it that progressive viewers ask for.
 *
 * @param {Response} found
 * @param {string | null} range
 * @returns {Promise<Response | null>} null if a node should say what to do with such a range
 */
async function part(found, range) {
  if (!range) return found;
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
  const body = await found.blob();
  const first = Number(from);
  const stop = to ? Math.min(Number(to) + 1, body.size) : body.size;
  if (from === undefined || first >= stop) return null;
  const headers = new Headers(found.headers);
  headers.set("content-range", `bytes ${first}-${stop - 1}/${body.size}`);
  headers.set("content-length", String(stop - first));
  return new Response(body.slice(first, stop), { status: 206, headers });
}
