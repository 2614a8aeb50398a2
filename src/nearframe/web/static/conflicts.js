// Instances that came with a UID that is held with other pixels: somebody has to say which is right.

import { picture } from "./study.js";
import { button, changed, count, date, json, line, moment, note, personName, send } from "./values.js";

const SHOWN = 50;
const NAMED = 8; // attributes that differ; all are counted
const LEVELS = [["series", "Series"], ["instance", "Image"]];

/** Draw the open conflicts. */
export async function conflicts(fill) {
  const { conflicts: open, total } = await json(`/api/conflicts?limit=${SHOWN}`);
  if (!open.length) {
    fill(line("None: every UID stands for one picture.", "nothing"));
    return;
  }
  const more = total > open.length ? [line(`… and ${count(total - open.length)} more, once these are settled`)] : [];
  fill(...open.map(pair), ...more);
}

/** Whose picture a conflict is about, for people. */
export const whose = (conflict) => patientOf(conflict.incoming ?? conflict.current ?? {}) || "(no name)";

/** Which picture it is. */
export const which = (conflict) => {
  const told = conflict.incoming ?? conflict.current ?? {};
  return [studyOf(told), pictureOf(told)].filter(Boolean).join(" · ") || `Instance ${conflict.instance}`;
};

const patientOf = (told) => [personName(told.patient_name ?? ""), told.patient_id].filter(Boolean).join(" · ");
const studyOf = (told) => [date(told.study_date ?? ""), told.study_description].filter(Boolean).join(", ");
const pictureOf = (told) => [told.modality, ...LEVELS.map(([level, label]) => {
  const number = told[`${level}_number`];
  return number && `${label} ${number}`;
})].filter(Boolean).join(" · ");

function pair(conflict) {
  const made = document.createElement("article");
  made.className = "pair conflict";
  made.setAttribute("aria-label", `${whose(conflict)}, ${which(conflict)}`);
  made.append(side("Current", conflict, conflict.current, conflict.incoming), side("Incoming", conflict, conflict.incoming, conflict.current), choices(conflict), differences(conflict));
  return made;
}

/** One of the two versions: its picture, and what it says it is. What the other says otherwise is marked. */
function side(title, conflict, told, other) {
  const made = document.createElement("section");
  made.append(Object.assign(document.createElement("h3"), { textContent: title }));
  if (!told) {
    made.append(line("Stored no more, or not yours to see.", "nothing"));
    return made;
  }
  const list = document.createElement("dl");
  const add = (label, words, differs) => {
    if (!words) return;
    list.append(Object.assign(document.createElement("dt"), { textContent: label }),
      Object.assign(document.createElement("dd"), { textContent: words, className: differs ? "differs" : "" }));
  };
  for (const [label, words] of [["Patient", patientOf], ["Study", studyOf], ["Image", pictureOf], ["Series", (one) => one.series_description]]) {
    add(label, words(told), other && words(told) !== words(other));
  }
  add("From", told.source);
  add("Came", moment(told.received_at));
  made.append(look(title, conflict, told), list);
  return made;
}

/** The picture of a version, of the first frame that differs, and the way to the whole of it. */
function look(title, conflict, told) {
  const [study, series, instance] = [told.study, told.series, conflict.instance].map(encodeURIComponent);
  const file = `/dicomweb/studies/${study}/series/${series}/instances/${instance}`;
  const frame = conflict.differs?.first_frame;
  const image = Object.assign(document.createElement("img"), { className: "thumb", width: 112, height: 112, alt: `${title} picture` });
  const large = Object.assign(document.createElement("a"), { href: `${file}${frame ? `/frames/${frame}` : ""}/rendered?version=${told.version}`, target: "_blank" });
  large.ariaLabel = `${title} picture, in full size`;
  large.append(image);
  picture(image, `${file}${frame ? `/frames/${frame}` : ""}/thumbnail`, told.modality ? [told.modality] : [], { version: told.version });
  const whole = Object.assign(document.createElement("a"), { href: `${file}?version=${told.version}&accept=application/dicom`, textContent: "DICOM file" });
  const made = document.createElement("p");
  made.className = "look";
  made.append(large, whole);
  return made;
}

function differences({ instance, differs }) {
  const words = [];
  if (differs?.frames) words.push(`pixels of ${count(differs.frames)} ${differs.frames === 1 ? "frame" : "frames"}`);
  if (differs?.attribute_count) {
    const named = differs.attributes.slice(0, NAMED);
    const more = differs.attribute_count - named.length;
    words.push(`header: ${named.join(", ")}${more ? ` and ${count(more)} more` : ""}`);
  }
  const made = line(`${words.length ? `Differs in ${words.join("; ")}. ` : ""}SOP Instance UID ${instance}`);
  made.classList.add("what-differs");
  return made;
}

/** The buttons that settle a conflict. */
function choices(conflict) {
  const made = document.createElement("p");
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
