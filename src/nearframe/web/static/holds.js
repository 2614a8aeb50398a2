// Legal holds: what nobody may take away, and a form for the next one.

import { button, changed, count, field, json, line, moment, note, rows, send } from "./values.js";
import { askWhy } from "./why.js";

let form; // kept while the list is drawn anew: somebody may be writing in it

/** Draw the holds that stand. */
export async function holds(fill) {
  const { holds: standing } = await json("/api/holds");
  form ??= placing();
  const listed = standing.length ? rows(["Number", "Placed", "On", "Studies", "By", "Why", ""], standing.map((one) => [
    String(one.id), moment(one.placed_at), named(one), count(one.studies), one.by, one.reason, releasing(one),
  ])) : line("None: everything may be deleted by those who may delete.", "nothing");
  fill(listed, form);
}

const named = (one) => (one.study ? `study ${one.study}` : `patient ${one.patient.id}${one.patient.issuer ? ` of ${one.patient.issuer}` : ""}`);

function releasing(one) {
  const made = button("Release", async () => {
    const reason = await askWhy(`Release hold ${one.id}`, "Release");
    if (reason) await change(`/api/holds/${one.id}/release`, { reason }, made, `Hold ${one.id} is released.`);
  });
  made.setAttribute("aria-label", `Release hold ${one.id}`);
  return made;
}

function placing() {
  const made = document.createElement("form");
  made.className = "place-hold";
  const [study, patient, issuer, reason] = [
    ["study", "Study Instance UID"], ["patient", "or Patient ID"], ["issuer", "Issuer of it"], ["reason", "Why"],
  ].map(([name, label]) => {
    const input = Object.assign(document.createElement("input"), { name, autocomplete: "off" });
    made.append(field(label, input));
    return input;
  });
  reason.required = true;
  const save = button("Place hold");
  save.type = "submit";
  made.append(save);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const who = { id: patient.value.trim(), ...(issuer.value.trim() ? { issuer: issuer.value.trim() } : {}) };
    const what = study.value.trim() ? { study: study.value.trim() } : { patient: who };
    if (await change("/api/holds", { ...what, reason: reason.value }, save, "The hold stands.")) made.reset();
  });
  return made;
}

async function change(path, body, self, words) {
  self.disabled = true;
  try {
    await send(path, body);
    note(words, "good");
    changed();
    return true;
  } catch (error) {
    note(`Nothing was changed: ${error.message}`, "bad");
    return false;
  } finally {
    self.disabled = false;
  }
}
