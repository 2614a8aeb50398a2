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

/** Send JSON; resolves to the answer's. */
export const send = (url, body = {}) => json(url, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

export function note(message, kind = "warn") {
  const box = $("#note");
  box.hidden = !message;
  box.className = `note ${kind}`;
  box.textContent = message;
}

/** A time as ISO 8601 has it, to the minute, where people read it. */
export const moment = (iso) => new Date(iso).toLocaleString("sv-SE", { dateStyle: "short", timeStyle: "short" });
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

export function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  if (act) made.addEventListener("click", () => act(made));
  return made;
}

/** An input with its label. */
export function field(label, input) {
  const made = document.createElement("label");
  made.append(label, input);
  return made;
}

/** A table; where it is narrow each cell says what it is. Short cells are not broken. */
export function rows(heads, lines) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const words of heads) head.append(Object.assign(document.createElement("th"), { textContent: words, scope: "col" }));
  const body = table.createTBody();
  for (const cells of lines) {
    const row = body.insertRow();
    cells.forEach((content, index) => {
      const cell = row.insertCell();
      cell.append(content ?? "");
      if (typeof content === "string" && content.length <= 20) cell.classList.add("tight");
      if (heads[index] && index) cell.dataset.label = `${heads[index]}:`;
      if (!heads[index] && index === heads.length - 1) cell.classList.add("actions");
    });
  }
  return table;
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
