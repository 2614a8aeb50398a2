// What every part of the study page uses: DICOM JSON read, numbers written, the node asked, small elements made.

export const $ = (selector, root = document) => root.querySelector(selector);
export const archive = document.body.dataset.role === "origin";

/** Tell the other parts of the page that the node's studies changed. */
export const changed = () => document.dispatchEvent(new Event("studieschanged"));
/** @param {() => unknown} act */
export const onChange = (act) => document.addEventListener("studieschanged", act);

const value = (object, tag) => object[tag]?.Value?.[0];
export const text = (object, tag) => {
  const first = value(object, tag);
  if (first === undefined || first === null) return "";
  return typeof first === "object" ? first.Alphabetic ?? first.Ideographic ?? "" : String(first);
};
export const all = (object, tag) => object[tag]?.Value ?? [];
export const personName = (name) => name.split("=")[0].split("^").filter(Boolean).join(", ");
export const date = (dicom) => (/^\d{8}$/.test(dicom) ? `${dicom.slice(0, 4)}-${dicom.slice(4, 6)}-${dicom.slice(6)}` : dicom);

export function size(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) { bytes /= 1000; power += 1; }
  return `${power ? bytes.toFixed(1) : bytes}\u00a0${units[power]}`; // a figure is not parted from its unit
}

export async function problem(response) {
  try {
    const body = await response.json();
    return body.detail ?? body.title ?? response.statusText;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

export async function json(url, options) {
  const response = await fetch(url, options);
  if (response.status === 204) return [];
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

export function note(message, kind = "warn") {
  const box = $("#note");
  box.hidden = !message;
  box.className = `note ${kind}`;
  box.textContent = message;
}

export const count = (number) => (number === undefined ? undefined : Number(number).toLocaleString("en"));

// -- elements ---------------------------------------------------------------------------

export function badge(label, kind = "") {
  const mark = document.createElement("span");
  mark.className = `badge ${kind}`;
  mark.textContent = label;
  return mark;
}

export function line(words, kind = "soft") {
  const made = document.createElement("p");
  made.className = kind;
  made.textContent = words;
  return made;
}

export function card(title, pairs, extra) {
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
