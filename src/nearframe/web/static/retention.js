// What the rules of retention come to, asked for and never done unasked.

import { button, changed, count, date, json, line, note, rows, send } from "./values.js";

const VERDICTS = [
  ["kept", "kept"], ["due", "due"], ["on_hold", "due, on hold"], ["just_came", "due, stored lately"],
  ["cannot_judge", "cannot be judged"], ["no_rule", "without a rule"],
];
const SHOWN = 50;

/** Draw the button that asks; judging every study takes a while. */
export function retention(fill) {
  const row = document.createElement("p");
  row.className = "row";
  const ask = button("What is due?", async () => {
    ask.disabled = true;
    try {
      const plan = await json(`/api/retention?limit=${SHOWN}`);
      fill(...shown(plan), row);
      if (plan.deletable) row.replaceChildren(ask, deleting(plan, () => retention(fill)));
    } catch (error) {
      note(`It cannot be judged: ${error.message}`, "bad");
    }
    ask.disabled = false;
  });
  row.append(ask);
  fill(line("Rules are [[retention]] tables of the settings. Whatever is in doubt is kept.", "nothing"), row);
}

function shown(plan) {
  const counts = document.createElement("p");
  counts.className = "counts";
  for (const [name, words] of VERDICTS) {
    if (!plan.counts[name]) continue;
    const one = document.createElement("span");
    one.append(Object.assign(document.createElement("b"), { textContent: count(plan.counts[name]) }), ` ${words}`);
    counts.append(one);
  }
  const list = plan.listed.length ? [rows(["Study date", "Kept until", "What", "Rules", "Study"], plan.listed.map((one) => [
    date(one.study_date) || "none", one.until ?? one.why, one.verdict === "due" ? one.action : one.verdict.replaceAll("_", " "), one.rules.join(", "), one.study,
  ]))] : [];
  return [counts, ...list];
}

function deleting(plan, again) {
  const words = `Delete ${count(plan.deletable)} ${plan.deletable === 1 ? "study" : "studies"}`;
  return button(words, async (self) => {
    if (!window.confirm(`${words}? It can be undone until it is purged.`)) return;
    self.disabled = true;
    try {
      const applied = await send("/api/retention");
      note(`${count(applied.deleted)} deleted${applied.failed.length ? `, ${applied.failed.length} left: ${applied.failed[0].why}` : "."}`, applied.failed.length ? "warn" : "good");
      changed();
      again();
    } catch (error) {
      note(`Nothing was deleted: ${error.message}`, "bad");
      self.disabled = false;
    }
  });
}
