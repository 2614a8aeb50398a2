// The study page: QIDO-RS for the list, WADO-RS for pictures, STOW-RS for uploads,
// /api/status for the node's state. No library, no build step.

import { forgetStudies, keptStudies, useWorker } from "/worker/register.js";

const PAGE = 50;
const STATUS_MS = 3000;
const UPLOADS_AT_ONCE = 3;
const CONFLICTS_SHOWN = 5;
const JOBS = { pix: "pixel digests", perceptual: "perceptual hashes" };
const LIST_FIELDS = "00081030,00080061,00201206,00201208,00100030";

const $ = (selector, root = document) => root.querySelector(selector);
const viewer = document.body.dataset.viewer;
const { keep, keepBytes } = document.body.dataset;
const archive = document.body.dataset.role === "origin";
let offset = 0;
let asked = 0; // answers of an older question are dropped

// -- DICOM JSON ------------------------------------------------------------------------

const value = (object, tag) => object[tag]?.Value?.[0];
const text = (object, tag) => {
  const first = value(object, tag);
  if (first === undefined || first === null) return "";
  return typeof first === "object" ? first.Alphabetic ?? first.Ideographic ?? "" : String(first);
};
const all = (object, tag) => object[tag]?.Value ?? [];
const personName = (name) => name.split("=")[0].split("^").filter(Boolean).join(", ");
const date = (dicom) => (/^\d{8}$/.test(dicom) ? `${dicom.slice(0, 4)}-${dicom.slice(4, 6)}-${dicom.slice(6)}` : dicom);

function size(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) { bytes /= 1000; power += 1; }
  return `${power ? bytes.toFixed(1) : bytes} ${units[power]}`;
}

async function problem(response) {
  try {
    const body = await response.json();
    return body.detail ?? body.title ?? response.statusText;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

async function json(url, options) {
  const response = await fetch(url, options);
  if (response.status === 204) return [];
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

function note(message, kind = "warn") {
  const box = $("#note");
  box.hidden = !message;
  box.className = `note ${kind}`;
  box.textContent = message;
}

// -- the study list --------------------------------------------------------------------

function question() {
  const query = new URLSearchParams({ limit: PAGE, offset, includefield: LIST_FIELDS, fuzzymatching: "true" });
  const put = (key, wanted) => { if (wanted) query.set(key, wanted); };
  put("PatientName", $("#q-name").value.trim() && `*${$("#q-name").value.trim()}*`);
  put("PatientID", $("#q-id").value.trim() && `*${$("#q-id").value.trim()}*`);
  put("AccessionNumber", $("#q-accession").value.trim() && `*${$("#q-accession").value.trim()}*`);
  put("StudyDescription", $("#q-description").value.trim() && `*${$("#q-description").value.trim()}*`);
  put("ModalitiesInStudy", $("#q-modality").value.trim().toUpperCase());
  const [from, to] = [$("#q-from").value, $("#q-to").value].map((day) => day.replaceAll("-", ""));
  if (from || to) query.set("StudyDate", `${from}-${to}`);
  return query;
}

async function search({ append = false } = {}) {
  if (!append) offset = 0;
  const mine = ++asked;
  let studies;
  try {
    studies = await json(`/dicomweb/studies?${question()}`, { headers: { Accept: "application/dicom+json" } });
  } catch (error) {
    if (mine === asked) note(`The search failed: ${error.message}`, "bad");
    return;
  }
  if (mine !== asked) return;
  const body = $("#studies tbody");
  if (!append) body.replaceChildren();
  for (const study of studies) body.append(row(study));
  $("#more").hidden = studies.length < PAGE;
  const filtered = [...$("#search").querySelectorAll("input")].some((input) => input.value);
  $("#empty").hidden = body.children.length > 0;
  $("#empty").textContent = filtered ? "No study matches." : "No studies yet. Drop some DICOM files above.";
}

function row(study) {
  const uid = text(study, "0020000D");
  const line = $("#row").content.firstElementChild.cloneNode(true);
  line.dataset.uid = uid;
  const put = (name, content) => { $(name, line).textContent = content; };
  put(".name", personName(text(study, "00100010")) || "(no name)");
  put(".id", text(study, "00100020"));
  put(".born", date(text(study, "00100030")));
  put(".date", date(text(study, "00080020")));
  $(".modality", line).append(...all(study, "00080061").map((modality) => badge(modality)));
  put(".description", text(study, "00081030"));
  put(".series", text(study, "00201206"));
  put(".images", text(study, "00201208"));
  $(".images", line).dataset.noun = text(study, "00201208") === "1" ? " image" : " images";
  picture($(".thumb", line), `/dicomweb/studies/${encodeURIComponent(uid)}/thumbnail`, all(study, "00080061")[0]);
  const open = $(".open", line);
  if (viewer) {
    open.href = `${viewer}viewer?StudyInstanceUIDs=${encodeURIComponent(uid)}`;
  } else {
    open.setAttribute("aria-disabled", "true");
    open.title = "The viewer is not installed: run  nearframe viewer install";
  }
  open.addEventListener("click", (event) => event.stopPropagation());
  line.addEventListener("click", () => toggle(line));
  line.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === line) toggle(line); });
  return line;
}

// What has no picture (a report, a plan, a waveform) shows what it is instead.
function picture(image, url, kind = "") {
  image.addEventListener("error", () => {
    const blank = document.createElement("span");
    blank.className = "thumb none";
    blank.textContent = kind;
    blank.style.width = `${image.width}px`;
    blank.style.height = `${image.height}px`;
    image.replaceWith(blank);
  }, { once: true });
  image.src = `${url}?viewport=112,112`;
}

function badge(label, kind = "") {
  const mark = document.createElement("span");
  mark.className = `badge ${kind}`;
  mark.textContent = label;
  return mark;
}

// -- one study, opened -----------------------------------------------------------------

async function toggle(line) {
  if (line.nextElementSibling?.classList.contains("detail")) {
    line.nextElementSibling.remove();
    line.classList.remove("selected");
    return;
  }
  line.classList.add("selected");
  const detail = document.createElement("tr");
  detail.className = "detail";
  const cell = detail.insertCell();
  cell.colSpan = 10;
  cell.textContent = "…";
  line.after(detail);
  const uid = line.dataset.uid;
  try {
    const series = await json(`/dicomweb/studies/${encodeURIComponent(uid)}/series?includefield=0008103E`);
    const grid = document.createElement("div");
    grid.className = "seriesgrid";
    grid.append(...series.map((one) => seriesCard(uid, one)));
    const name = document.createElement("p");
    name.className = "uid";
    name.textContent = `Study ${uid}`;
    cell.replaceChildren(grid, name);
    await Promise.all([oddities(uid, cell), relatives(uid, cell)]);
  } catch (error) {
    cell.textContent = `The series cannot be listed: ${error.message}`;
  }
}

function seriesCard(study, series) {
  const card = document.createElement("div");
  card.className = "series-card";
  const image = document.createElement("img");
  image.className = "thumb";
  image.width = image.height = 72;
  image.alt = "";
  const uid = text(series, "0020000E");
  picture(image, `/dicomweb/studies/${encodeURIComponent(study)}/series/${encodeURIComponent(uid)}/thumbnail`, text(series, "00080060"));
  const words = document.createElement("div");
  const title = document.createElement("p");
  title.append(badge(text(series, "00080060") || "–"), text(series, "0008103E") || "(no description)");
  const counts = document.createElement("p");
  counts.className = "soft";
  const number = text(series, "00200011");
  counts.textContent = `${number ? `Series ${number} · ` : ""}${text(series, "00201209") || "?"} ${text(series, "00201209") === "1" ? "image" : "images"}`;
  words.append(title, counts);
  card.append(image, words);
  return card;
}

function line(words, kind = "soft") {
  const made = document.createElement("p");
  made.className = kind;
  made.textContent = words;
  return made;
}

async function oddities(uid, cell) {
  const { notes } = await json(`/api/studies/${encodeURIComponent(uid)}/notes`).catch(() => ({ notes: [] }));
  if (!notes.length) return;
  const list = document.createElement("ul");
  for (const one of notes) {
    const item = document.createElement("li");
    item.textContent = `${one.meaning} (${one.instances} ${one.instances === 1 ? "instance" : "instances"})`;
    list.append(item);
  }
  const box = document.createElement("div");
  box.className = "oddities soft";
  box.append(line("Worth knowing about these objects:"), list);
  cell.append(box);
}

async function relatives(uid, cell) {
  if (!archive) {
    cell.append(line("Similar pictures and priors are looked for at the origin: an edge keeps no perceptual hashes."));
    return;
  }
  let answer;
  try {
    answer = await json(`/api/studies/${encodeURIComponent(uid)}/candidates`);
  } catch {
    return; // the perceptual index is switched off
  }
  const counts = answer.counts ?? {};
  const words = Object.entries({ same_picture: "same picture", related_view: "related view", prior: "prior to compare" })
    .filter(([key]) => counts[key])
    .map(([key, label]) => `${counts[key]} × ${label}`);
  if (!words.length) return;
  cell.append(line(`Perceptual index proposes, within this patient: ${words.join(", ")}. A proposal, never an identity.`));
}

// -- uploads ---------------------------------------------------------------------------

async function upload(files) {
  const queue = [...files];
  if (!queue.length) return;
  const bar = $("#upload");
  const counts = { stored: 0, warned: 0, failed: 0 };
  const reasons = new Map();
  let done = 0;
  bar.hidden = false;
  bar.value = 0;
  const total = queue.length;
  const worker = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      await store(file, counts, reasons);
      done += 1;
      bar.value = done / total;
      $("#drop-text").textContent = `Storing ${done} of ${total} …`;
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  bar.hidden = true;
  resetDrop();
  const lines = [`${counts.stored} stored${counts.warned ? `, ${counts.warned} of them with a warning` : ""}` +
    `${counts.failed ? `, ${counts.failed} refused` : ""}.`];
  for (const [reason, count] of reasons) lines.push(`${count} × ${reason}`);
  note(lines.join("\n"), counts.failed ? "bad" : counts.warned ? "warn" : "good");
  await Promise.all([search(), status()]);
}

async function store(file, counts, reasons) {
  const say = (reason) => reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  try {
    const response = await fetch("/dicomweb/studies", {
      method: "POST",
      headers: { "Content-Type": "application/dicom", Accept: "application/dicom+json" },
      body: file,
    });
    const type = response.headers.get("content-type") ?? "";
    if (!type.includes("dicom+json")) {
      counts.failed += 1;
      say(await problem(response));
      return;
    }
    const answer = await response.json();
    const failed = all(answer, "00081198").length + all(answer, "0008119A").length;
    counts.failed += failed;
    counts.stored += all(answer, "00081199").length;
    if (failed) say(text([...all(answer, "00081198"), ...all(answer, "0008119A")][0], "00000902") || "not a DICOM object we can place");
    if (all(answer, "00081199").some((item) => item["00081196"])) {
      counts.warned += 1;
      say("same UID, other pixels: kept as a conflict, not shown as current");
    }
  } catch (error) {
    counts.failed += 1;
    say(`the node did not answer (${error.message})`);
  }
}

const dropText = $("#drop-text").innerHTML;
function resetDrop() {
  $("#drop-text").innerHTML = dropText;
  $("#files").addEventListener("change", (event) => upload(event.target.files));
}

async function entries(items) {
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader hands out at most a hundred entries a call
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await walk(child);
    }
  };
  // All are taken at once: the list is empty after the first wait. What is no entry may be a file all the same.
  const dropped = [...items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  for (const one of dropped.filter(Boolean)) {
    if (one instanceof File) files.push(one);
    else await walk(one);
  }
  return files;
}

const drop = $("#drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
document.addEventListener("drop", async (event) => upload(await entries(event.dataTransfer.items)));
drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") $("#files").click(); });
resetDrop();

// -- the node --------------------------------------------------------------------------

function card(title, pairs, extra) {
  const box = document.createElement("div");
  box.className = "card";
  const head = document.createElement("h2");
  head.textContent = title;
  const list = document.createElement("dl");
  for (const [label, content, kind] of pairs) {
    if (content === undefined || content === null || content === "") continue;
    const term = document.createElement("dt");
    const detail = document.createElement("dd");
    term.textContent = label;
    detail.textContent = content;
    if (kind) detail.className = kind;
    list.append(term, detail);
  }
  box.append(head, list);
  if (extra) box.append(extra);
  return box;
}

const ago = (seconds) => (seconds < 2 ? "now" : seconds < 120 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`);
const place = (cursor) => cursor?.split(":").pop(); // "epoch:seq": people compare the second
const count = (number) => (number === undefined ? undefined : Number(number).toLocaleString("en"));

async function conflictList() {
  if (!archive) return undefined; // the card below says where they are
  const open = await json("/api/conflicts").catch(() => []);
  const conflicts = open.conflicts ?? open;
  if (!conflicts.length) return undefined;
  const list = document.createElement("ul");
  for (const conflict of conflicts.slice(0, CONFLICTS_SHOWN)) {
    const item = document.createElement("li");
    const patient = $(`tr.study[data-uid="${CSS.escape(conflict.study)}"] .name`)?.textContent;
    item.append(
      line(patient ?? `Study ${conflict.study}`, patient ? "name" : "uid"),
      line(`Same UID, other pixels: version ${conflict.version} against current ${conflict.current_version}`),
      line(`Instance ${conflict.instance}`, "uid"),
    );
    for (const [keep, label] of [["current", "Keep current"], ["incoming", "Use incoming"]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", async () => {
        try {
          await json(`/api/conflicts/${conflict.id}`, {
            method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ keep }),
          });
          await Promise.all([status(), search()]);
        } catch (error) {
          note(`The conflict stays open: ${error.message}`, "bad");
        }
      });
      item.append(button);
    }
    list.append(item);
  }
  if (conflicts.length > CONFLICTS_SHOWN) {
    const more = document.createElement("li");
    more.append(line(`… and ${conflicts.length - CONFLICTS_SHOWN} more: nearframe conflicts list`));
    list.append(more);
  }
  return list;
}

async function status() {
  const health = $("#health");
  let state;
  try {
    state = await json("/api/status");
  } catch (error) {
    health.className = "pill bad";
    health.textContent = `no answer: ${error.message}`;
    return;
  }
  const cards = [];
  const upstream = state.upstream;
  if (upstream) {
    const away = !upstream.reachable;
    health.className = `pill ${away ? "warn" : "good"}`;
    health.textContent = away ? "origin away: serving what is held here" : "following the origin";
    cards.push(card("Feed", [
      ["Upstream", away ? "away" : "reachable", away ? "warn" : "good"],
      ["Last contact", upstream.last_contact_s === undefined || upstream.last_contact_s === null ? "never" : ago(upstream.last_contact_s)],
      ["Changes behind", count(upstream.lag), upstream.lag ? "warn" : ""],
      ["Position", place(upstream.cursor)],
    ]));
    const moved = state.moved ?? {};
    cards.push(card("Moved over the line since the start", [
      ["Frames", moved.frames === undefined ? undefined : `${count(moved.frames)} (${size(moved.frame_bytes)})`],
      ["Headers", size(moved.header_bytes)],
      ["Manifests and deltas", size((moved.manifest_bytes ?? 0) + (moved.delta_bytes ?? 0))],
      ["Served from here", size(moved.saved_bytes), moved.saved_bytes ? "good" : ""],
    ]));
    const outbox = state.outbox;
    if (outbox) {
      const waiting = outbox.spooled + outbox.sent;
      cards.push(card("Taken in here", [
        ["Waiting for the origin", count(waiting), waiting ? "warn" : ""],
        ["Oldest", outbox.oldest_s === null ? "none" : ago(outbox.oldest_s)],
        ["Refused", count(outbox.refused), outbox.refused ? "bad" : ""],
        ["Forwarded", count(outbox.verified)],
      ]));
    }
  } else {
    health.className = "pill good";
    health.textContent = "serving";
  }
  const counts = state.counts ?? {};
  cards.push(card(archive ? "Archive" : "Known here", [
    ["Studies", count(counts.studies)], ["Series", count(counts.series)], ["Instances", count(counts.instances)],
    ["Feed position", place(state.feed?.head)],
  ]));
  const store = state.store ?? {};
  cards.push(card("Store", [
    ["On disk", size(store.stored_bytes)], ["Contents", count(store.contents)],
    ["Not written twice", size(store.reused_bytes), store.reused_bytes ? "good" : ""],
    ["Free on this disk", size(store.free_bytes)],
  ]));
  const jobs = Object.entries(state.background ?? {});
  if (jobs.length) {
    cards.push(card("Background work", jobs.map(([name, job]) => [
      JOBS[name] ?? name, job.lag ? `${count(job.lag)} to do` : "up to date", job.failed ? "warn" : "",
    ])));
  }
  const conflicts = await conflictList();
  if (conflicts) cards.push(card("Conflicts to resolve", [], conflicts));
  if (!archive) {
    cards.push(card("At the origin only", [], line("Conflicts and their resolution, similar pictures and priors, and the report of what is held twice.")));
  }
  const kept = await browserCard();
  if (kept) cards.push(kept);
  $("#cards").replaceChildren(...cards);
}

// -- this browser ----------------------------------------------------------------------

async function browserCard() {
  if (keep === "off" || !navigator.serviceWorker?.controller) return undefined;
  const { studies, bytes } = await keptStudies();
  if (!studies) return undefined;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Forget";
  button.title = "Drop every study that is kept in this browser";
  button.addEventListener("click", async () => { await forgetStudies(); await status(); });
  return card("Kept in this browser", [["Studies", count(studies)], ["Size", size(bytes)]], button);
}

// -- start -----------------------------------------------------------------------------

let pending;
$("#search").addEventListener("input", () => { clearTimeout(pending); pending = setTimeout(search, 180); });
$("#search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("#search").addEventListener("reset", () => setTimeout(search));
$("#more").addEventListener("click", () => { offset += PAGE; search({ append: true }); });
useWorker(keep, keepBytes).catch((error) => console.warn("no service worker:", error));
search();
status();
setInterval(() => { if (!document.hidden) status(); }, STATUS_MS);
