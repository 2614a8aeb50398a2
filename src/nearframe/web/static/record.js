// The record of corrections: who changed what, when and why; and how to undo it.

import { button, changed, count, json, line, moment, note, rows, send } from "./values.js";
import { askWhy } from "./why.js";

const PAGE = 20;
const FOR_GOOD = "purge";
const ACTIONS = { apart: "kept apart" };
let shown = PAGE;

/** Draw the latest corrections. */
export async function record(fill) {
  const { corrections } = await json(`/api/corrections?${new URLSearchParams({ limit: shown + 1 })}`);
  if (!corrections.length) {
    fill(line("None so far. A study is corrected from its row on the study page.", "nothing"));
    return;
  }
  const listed = rows(["Number", "Made", "What", "Images", "By", "Why", ""], corrections.slice(0, shown).map((one) => [
    String(one.id), moment(one.made_at), one.undoes ? `undo of ${one.undoes}` : ACTIONS[one.action] ?? one.action, count(one.instances), one.by, one.reason, undo(one),
  ]));
  const more = button("Show more", () => { shown += PAGE; record(fill); });
  fill(listed, ...(corrections.length > shown ? [more] : []));
}

function undo(one) {
  if (one.undone_by) return `undone by ${one.undone_by}`;
  if (!one.instances) return "";
  if (one.action === FOR_GOOD) return "for good";
  const made = button("Undo", () => undoCorrection(one.id, made));
  made.setAttribute("aria-label", `Undo correction ${one.id}`);
  return made;
}

/** Ask why, and undo a correction. */
export async function undoCorrection(id, self) {
  const reason = await askWhy(`Undo correction ${id}`, "Undo");
  if (!reason) return;
  self.disabled = true;
  try {
    const made = await send(`/api/corrections/${id}/undo`, { reason });
    note(`Correction ${id} is undone: ${count(made.instances)} ${made.instances === 1 ? "instance" : "instances"} as before.`, "good");
    changed();
  } catch (error) {
    note(`Nothing was changed: ${error.message}`, "bad");
    self.disabled = false;
  }
}
