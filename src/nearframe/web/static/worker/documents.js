// Metadata and lists of a study: always asked for; the kept copy only if no node answers, with its age.

import { fetchAnywhere } from "./nodes.js";
import { heldDocument, keep } from "./studies.js";
import { studyOpened } from "./tables.js";

/**
 * @param {FetchEvent} event
 * @param {string} study
 * @returns {Promise<Response>}
 */
export async function answerDocument(event, study) {
  const { request } = event;
  const opens = new URL(request.url).pathname.endsWith("/metadata");
  // Beside the metadata, not after it: by the time frames are asked for, the table is here.
  if (opens) event.waitUntil(studyOpened(request, study).catch(() => undefined));
  let response;
  try {
    response = await fetchAnywhere(request);
  } catch (error) {
    const copy = await copyOf(study, request);
    if (copy) return copy;
    throw error;
  }
  if (response.status >= 500) return (await copyOf(study, request)) ?? response;
  if (response.status === 200 && !response.headers.get("cache-control")?.includes("no-store")) {
    event.waitUntil(keepCopy(study, request, response.clone()).catch(() => undefined));
  }
  return response;
}

/** @param {string} study @param {Request} request @param {Response} response */
async function keepCopy(study, request, response) {
  const headers = new Headers(response.headers);
  headers.delete("content-encoding"); // the body is held as the page reads it
  headers.delete("content-length");
  if (!headers.has("date")) headers.set("date", new Date().toUTCString());
  const body = await response.arrayBuffer();
  await keep(study, request, () => new Response(body, { headers }));
}

/** @param {string} study @param {Request} request @returns {Promise<Response | null>} */
async function copyOf(study, request) {
  const copy = await heldDocument(study, request).catch(() => undefined);
  if (!copy) return null;
  const headers = new Headers(copy.headers);
  const age = Math.max(0, Math.round((Date.now() - Date.parse(headers.get("date") ?? "")) / 1000));
  headers.set("age", String(age));
  headers.set("warning", '110 - "no node answers; this copy was kept"');
  return new Response(copy.body, { headers });
}
