// Corrections of one study, at the archive: what was corrected and why, how to undo it, and a form for the next one.

import { undoCorrection } from "./record.js";
import { archive, button, changed, count, field, json, note, send, text } from "./values.js";

// What people get wrong most often: keyword, label, tag. Everything else is for the command line.
const FIELDS = [
  ["PatientName", "Patient name", "00100010"],
  ["PatientBirthDate", "Born (YYYYMMDD)", "00100030"],
  ["PatientSex", "Sex", "00100040"],
  ["AccessionNumber", "Accession number", "00080050"],
  ["StudyDate", "Study date (YYYYMMDD)", "00080020"],
  ["StudyDescription", "Study description", "00081030"],
];
const SHOWN = 5;

/** Ask for something and tell of it; the list is drawn anew, since it may show something else now. */
async function ask(path, body, button) {
  button.disabled = true;
  try {
    const made = await send(path, body);
    note(`Correction ${made.id}: ${count(made.instances)} ${made.instances === 1 ? "instance" : "instances"} changed, no pixel moved.`, "good");
    changed();
  } catch (error) {
    note(`Nothing was changed: ${error.message}`, "bad");
    button.disabled = false;
  }
}

/** Show what was corrected in a study, and offer to correct more. */
export async function corrections(uid, cell) {
  if (!archive) return; // an edge shows what its archive has
  const [made, study] = await Promise.all([
    json(`/api/corrections?${new URLSearchParams({ study: uid, limit: SHOWN })}`),
    json(`/dicomweb/studies?${new URLSearchParams({ StudyInstanceUID: uid, includefield: FIELDS.map(([, , tag]) => tag).join(",") })}`),
  ]);
  const box = document.createElement("details");
  box.className = "corrections";
  const summary = document.createElement("summary");
  summary.textContent = made.corrections.length ? `Correct (${made.corrections.length} so far)` : "Correct";
  box.append(summary, ...made.corrections.map(row), form(uid, study[0] ?? {}));
  cell.append(box);
}

function row(made) {
  const item = document.createElement("p");
  const done = made.undone_by ? `, undone by ${made.undone_by}` : "";
  const what = made.undoes ? `undo of ${made.undoes}` : made.action;
  item.className = "soft";
  item.textContent = `${made.id}: ${what}, ${made.made_at.slice(0, 16).replace("T", " ")}, ${made.by}${done}: ${made.reason} `;
  if (!made.undone_by) item.append(button("Undo", (self) => undoCorrection(made.id, self)));
  return item;
}

function form(uid, study) {
  const made = document.createElement("form");
  const inputs = FIELDS.map(([keyword, label, tag]) => {
    const input = document.createElement("input");
    input.name = keyword;
    input.value = input.defaultValue = tag === "00100010" ? wholeName(study) : text(study, tag);
    made.append(field(label, input));
    return input;
  });
  const reason = document.createElement("input");
  reason.name = "reason";
  reason.required = true;
  reason.maxLength = 1000;
  const save = button("Correct");
  save.type = "submit";
  made.append(field("Why", reason), save, button("Delete study", (self) => {
    if (made.reportValidity()) ask("/api/corrections", { action: "delete", select: { study: uid }, reason: reason.value }, self);
  }));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const set = Object.fromEntries(inputs.filter((one) => one.value !== one.defaultValue).map((one) => [one.name, one.value]));
    ask("/api/corrections", { action: "attributes", select: { study: uid }, set, reason: reason.value }, save);
  });
  return made;
}

/** The name as DICOM writes it, all its groups: shown otherwise it could not be written back. */
function wholeName(study) {
  const name = study["00100010"]?.Value?.[0] ?? {};
  return [name.Alphabetic, name.Ideographic, name.Phonetic].map((group) => group ?? "").join("=").replace(/=+$/, "");
}
