// Instances that came with a UID that is held with other pixels: somebody has to say which is right.

import { button, changed, json, line, moment, note, rows, send } from "./values.js";

/** Draw the open conflicts. */
export async function conflicts(fill) {
  const { conflicts: open } = await json("/api/conflicts");
  if (!open.length) {
    fill(line("None: every UID stands for one picture.", "nothing"));
    return;
  }
  fill(rows(["Came", "From", "Instance", "Versions", ""], open.map((one) => [
    moment(one.received_at), one.source, one.instance,
    `${one.version} against current ${one.current_version}`, choices(one),
  ])));
}

/** Return the buttons that settle a conflict. */
export function choices(conflict) {
  const made = document.createElement("span");
  made.className = "row";
  for (const [keep, label] of [["current", "Keep current"], ["incoming", "Use incoming"]]) {
    made.append(button(label, async (self) => {
      self.disabled = true;
      try {
        await send(`/api/conflicts/${conflict.id}`, { keep });
        changed();
      } catch (error) {
        note(`The conflict stays open: ${error.message}`, "bad");
        self.disabled = false;
      }
    }));
  }
  return made;
}
