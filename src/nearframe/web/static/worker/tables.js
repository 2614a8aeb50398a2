// Frame tables: which bytes each frame of a study would be answered with.
//
// A table is compared with the node's when metadata passes (a reader opens the study), when the worker
// was started anew, and once a minute; by its validator, so an unchanged one costs a 304. It names pixels
// only: a corrected name leaves it as it is. While no node answers, the table that is held serves.

import { fetchAnywhere } from "./nodes.js";
import { drop, held, keep } from "./studies.js";

const FRESH_MS = 60_000;
const BURST_MS = 1000; // a viewer asks for the metadata of each series at once: one comparison for all
const AGAIN_MS = 5000; // until a node that had no answer is asked again
const PATIENCE_MS = 2000; // for a comparison, when a table is held
const OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*";

/**
 * @typedef {object} Table
 * @property {Record<string, (string | null)[]> | null} rows null if there is none
 * @property {string | null} etag
 * @property {number} checkedAt
 * @property {Promise<void> | null} checking
 */

/** @type {Map<string, Table>} */
const tables = new Map();
let lastAccept = OHIF; // until a frame was asked for, what most viewers send

/**
 * Return a frame's validator; null if it would be made on request, undefined if nothing is known of it.
 *
 * @param {Request} request
 * @param {{study: string, instance: string, number: number}} frame
 * @returns {Promise<string | null | undefined>}
 */
export async function validatorOf(request, frame) {
  lastAccept = request.headers.get("accept") ?? "*/*";
  const table = await tableOf(frame.study, lastAccept);
  const wait = compare(table, frame.study, lastAccept, request, FRESH_MS);
  await (table.rows ? Promise.race([wait, pause(PATIENCE_MS)]) : wait);
  return table.rows?.[frame.instance]?.[frame.number - 1];
}

/**
 * Compare the table of a study that is being opened.
 *
 * @param {Request} request of its metadata
 * @param {string} study
 * @returns {Promise<void>}
 */
export async function studyOpened(request, study) {
  await compare(await tableOf(study, lastAccept), study, lastAccept, request, BURST_MS);
}

/** @param {string} accept */
const nameOf = (accept) => `table ${accept}`;

/** @param {string} study @param {string} accept @returns {Promise<Table>} */
async function tableOf(study, accept) {
  const key = `${study} ${accept}`;
  const known = tables.get(key);
  if (known) return known;
  const stored = await held(study, nameOf(accept));
  const rows = stored ? (await stored.json()).instances : null;
  const loaded = tables.get(key); // by another request, meanwhile
  if (loaded) return loaded;
  const table = { rows, etag: stored?.headers.get("etag") ?? null, checkedAt: 0, checking: null };
  tables.set(key, table);
  return table;
}

/**
 * @param {Table} table
 * @param {string} study
 * @param {string} accept
 * @param {Request} request what it is needed for: the comparison goes under the same authority
 * @param {number} freshMs
 * @returns {Promise<void>}
 */
function compare(table, study, accept, request, freshMs) {
  if (table.checking) return table.checking;
  if (Date.now() - table.checkedAt < freshMs) return Promise.resolve();
  table.checkedAt = Date.now();
  table.checking = ask(table, study, accept, request)
    .catch(() => { table.checkedAt += AGAIN_MS - FRESH_MS; })
    .finally(() => { table.checking = null; });
  return table.checking;
}

/** @param {Table} table @param {string} study @param {string} accept @param {Request} request */
async function ask(table, study, accept, request) {
  const headers = new Headers();
  const authorization = request.headers.get("authorization");
  if (authorization) headers.set("authorization", authorization);
  if (table.etag) headers.set("if-none-match", table.etag);
  const path = `/dicomweb/studies/${study}/frames?accept=${encodeURIComponent(accept)}`;
  const response = await fetchAnywhere(new Request(path, { headers }));
  if (response.status === 304) return;
  if (response.status >= 500) throw new Error("no node answers");
  if (!response.ok || response.headers.get("cache-control")?.includes("no-store")) {
    [table.rows, table.etag] = [null, null]; // not for this reader, not here yet, or not to be kept
    await drop(study, nameOf(accept));
    throw new Error("there is no table");
  }
  const text = await response.text();
  table.rows = JSON.parse(text).instances;
  table.etag = response.headers.get("etag");
  await keep(study, nameOf(accept), () => new Response(text, { headers: table.etag ? { etag: table.etag } : {} }));
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
