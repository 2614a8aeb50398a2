// The page of those who look after an archive: health, room, work in the background, and what waits for somebody.

import { conflicts } from "./conflicts.js";
import { holds } from "./holds.js";
import { patients } from "./patients.js";
import { retention } from "./retention.js";
import { record } from "./record.js";
import { $, button, changed, count, json, moment, note, onChange, rows, send, size } from "./values.js";

const STATUS_MS = 3000;
const CHECKS_MS = 60_000;
const CONSUMERS = { pix: "pixel digests", perceptual: "perceptual hashes", renditions: "renditions" };
const KINDS = { frame: "Frames", bulk: "Bulk values", opaque: "Unparsed values", header: "Headers", derived: "Renditions" };
const STATES = { ok: "well", degraded: "needs attention", failing: "failing" };

// -- room --------------------------------------------------------------------------------

async function room() {
  const found = await json("/api/storage");
  const live = found.stored_bytes - found.dead_bytes;
  const total = found.stored_bytes + found.free_bytes;
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `${size(live)} in use, ${size(found.dead_bytes)} to be given back, ${size(found.free_bytes)} free`);
  for (const [kind, bytes] of [["live", live], ["dead", found.dead_bytes]]) {
    const part = document.createElement("i");
    part.className = kind;
    part.style.width = `${(100 * bytes) / total}%`;
    if (bytes) bar.append(part);
  }
  const list = document.createElement("dl");
  const add = (label, bytes, contents, swatch, kind = "") => {
    const term = document.createElement("dt");
    if (swatch) term.append(Object.assign(document.createElement("span"), { className: `swatch ${swatch}` }));
    term.append(label);
    const values = [contents === undefined ? "" : count(contents), size(bytes)].map((words) => Object.assign(document.createElement("dd"), { textContent: words, className: kind }));
    list.append(term, ...values);
  };
  for (const [kind, held] of Object.entries(found.kinds)) if (held.contents) add(KINDS[kind] ?? kind, held.bytes, held.contents);
  add(`In use, in ${count(found.packs)} ${found.packs === 1 ? "pack" : "packs"}`, live, undefined, "live");
  add(`To be given back (${Math.round((100 * found.dead_bytes) / (found.stored_bytes || 1))} %)`, found.dead_bytes, undefined, "dead");
  const mark = found.free_bytes <= found.reserve_bytes ? "bad" : found.free_bytes < found.high_mark_bytes ? "warn" : "";
  add("Free on this disk", found.free_bytes, undefined, "free", mark);
  add("Background work waits below", found.high_mark_bytes);
  add("Nothing is taken in below", found.reserve_bytes);
  fill("#room", bar, list);
}

// -- health ------------------------------------------------------------------------------

async function checks() {
  const found = await json("/api/doctor");
  const list = document.createElement("ul");
  list.className = "checks";
  const order = ["failing", "degraded", "ok"];
  const sorted = Object.entries(found.checks).sort(([, one], [, other]) => order.indexOf(one.state) - order.indexOf(other.state));
  for (const [name, one] of sorted) {
    const item = document.createElement("li");
    const dot = Object.assign(document.createElement("span"), { className: `dot ${one.state}`, title: STATES[one.state] });
    dot.setAttribute("role", "img");
    dot.setAttribute("aria-label", STATES[one.state]);
    item.append(dot, Object.assign(document.createElement("span"), { textContent: name }),
      Object.assign(document.createElement("span"), { className: one.state === "ok" ? "words soft" : "words", textContent: one.reason ?? one.what }));
    list.append(item);
  }
  fill("#checks", list);
}

async function pill() {
  const health = $("#health");
  try {
    const { status } = await (await fetch("/healthz")).json();
    health.className = `pill ${{ ok: "good", degraded: "warn" }[status] ?? "bad"}`;
    health.textContent = STATES[status] ?? status;
  } catch (error) {
    health.className = "pill bad";
    health.textContent = `no answer: ${error.message}`;
  }
}

// -- work --------------------------------------------------------------------------------

async function jobs() {
  const [status, upkeep] = await Promise.all([json("/api/status"), json("/api/upkeep")]);
  const consumers = Object.entries(status.background ?? {}).map(([name, one]) => {
    const state = one.lag ? ["working", ""] : ["up to date", "good"];
    const failed = one.failed ? `, ${count(one.failed)} failed` : "";
    return [CONSUMERS[name] ?? name, state, `${count(one.lag)} to do, ${count(one.done)} done since the start${failed}`, progress(one), "", ""];
  });
  const rounds = Object.entries(upkeep.rounds).map(([name, one]) => {
    const state = one.running ? ["running", ""] : one.failed ? ["failed", "bad"] : one.finished_at ? ["done", "good"] : ["not yet", ""];
    const again = button("Run now", (self) => begin(name, self));
    again.disabled = one.running;
    again.setAttribute("aria-label", `Run ${name} now`);
    return [name, state, one.words, one.running ? progress() : "", one.finished_at ? moment(one.finished_at) : "", again];
  });
  const focused = document.activeElement?.getAttribute("aria-label");
  fill("#jobs", rows(["Work", "State", "How far, or what came of it", "", "Ended", ""], [...rounds, ...consumers].map(([name, [words, kind], ...rest]) => [
    name, Object.assign(document.createElement("span"), { className: `state ${kind}`, textContent: words }), ...rest,
  ])));
  if (focused) $(`#jobs button[aria-label="${CSS.escape(focused)}"]`)?.focus(); // drawn anew beneath the keyboard
}

function progress(one) {
  if (one && !one.lag) return "";
  const bar = document.createElement("progress");
  if (one) { bar.max = one.lag + one.done; bar.value = one.done; }
  bar.setAttribute("aria-label", "progress");
  return bar;
}

async function begin(name, self) {
  self.disabled = true;
  await send(`/api/upkeep/${name}`).catch((error) => note(`It was not begun: ${error.message}`, "bad"));
  await jobs();
}

// -- the page ----------------------------------------------------------------------------

/** Show elements below the heading of a section. */
export function fill(section, ...elements) {
  $(section).replaceChildren($(`${section} > h2`), ...elements);
}

/** Draw a part; one that cannot be had says so, and the others stand. */
async function draw(section, part) {
  try {
    await part();
  } catch (error) {
    fill(section, Object.assign(document.createElement("p"), { className: "nothing", textContent: `Not to be had: ${error.message}` }));
  }
}

const LISTS = [["#conflicts", conflicts], ["#patients", patients], ["#corrections", record], ["#holds", holds]];
const drawLists = () => LISTS.forEach(([section, part]) => draw(section, () => part((...made) => fill(section, ...made))));

onChange(drawLists);
drawLists();
retention((...made) => fill("#retention", ...made));
const often = () => { pill(); draw("#jobs", jobs); };
const seldom = () => { draw("#room", room); draw("#checks", checks); };
often();
seldom();
setInterval(() => { if (!document.hidden) often(); }, STATUS_MS);
setInterval(() => { if (!document.hidden) { seldom(); changed(); } }, CHECKS_MS);
