// One study: its picture, and what is shown when its row is opened.

import { corrections } from "./corrections.js";
import { $, all, archive, badge, json, line, size, text } from "./values.js";

// Reports, plans, waveforms: a picture of these would be asked for in vain.
const NO_PICTURE = new Set(("ASMT AU DOC ECG EEG EMG EOG EPS FID HD KO M3D PLAN PR REG RESP RTPLAN RTRECORD RTSTRUCT " +
  "RWV SMR SR").split(" "));

// What has no picture shows what it is instead. What could not be had shows that too, and why while the upstream is away.
export function picture(image, url, modalities, query = {}) {
  const [kind = ""] = modalities;
  const stand = (failed) => {
    const blank = document.createElement("span");
    blank.className = failed ? "thumb none failed" : "thumb none";
    blank.textContent = kind || "no picture";
    blank.style.width = `${image.width}px`;
    blank.style.height = `${image.height}px`;
    image.replaceWith(blank);
  };
  if (modalities.length && modalities.every((modality) => NO_PICTURE.has(modality))) {
    stand(false);
    return;
  }
  image.addEventListener("error", () => stand(true), { once: true });
  image.src = `${url}?${new URLSearchParams({ viewport: "112,112", ...query })}`;
}

/** Open or close the row of a study. */
export async function toggle(line) {
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
    await Promise.all([urgency(uid, cell), oddities(uid, cell), relatives(uid, cell), corrections(uid, cell)]);
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
  const words = document.createElement("div");
  const title = document.createElement("p");
  title.append(badge(text(series, "00080060") || "–"), text(series, "0008103E") || "(no description)");
  const counts = document.createElement("p");
  counts.className = "soft";
  const number = text(series, "00200011");
  counts.textContent = `${number ? `Series ${number} · ` : ""}${text(series, "00201209") || "?"} ${text(series, "00201209") === "1" ? "image" : "images"}`;
  words.append(title, counts);
  card.append(image, words);
  picture(image, `/dicomweb/studies/${encodeURIComponent(study)}/series/${encodeURIComponent(uid)}/thumbnail`, all(series, "00080060"));
  return card;
}

async function urgency(uid, cell) {
  const stands = await json(`/api/studies/${encodeURIComponent(uid)}/urgency`).catch(() => ({}));
  const box = document.createElement("p");
  box.className = "soft";
  if (stands.given) box.append(badge(stands.given.class, "warn"), stands.given.reason ?? "");
  else if (stands.class) box.append(badge(stands.class), stands.why === "consult" ? "by a consult" : "by the routes of this edge");
  if (stands.pinned) box.append(" ", badge("pinned", "warn"));
  if (stands.frame_bytes) box.append(` · ${size(stands.held_bytes)} of ${size(stands.frame_bytes)} of its frames are held here`);
  if (box.childNodes.length) $(".uid", cell).after(box);
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
  if (!archive) return; // a card beside the list says where they are looked for
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
