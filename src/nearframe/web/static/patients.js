// Studies that name an identifier which was merged away: somebody has to say whether they are that patient's or not.

import { button, changed, count, date, json, line, moment, note, personName, send, text } from "./values.js";
import { askWhy } from "./why.js";

const WHO = [["00100010", "Name", personName], ["00100030", "Born", date], ["00100040", "Sex", String]];
const INCLUDED = [...WHO.map(([tag]) => tag), "00100021", "00081030"].join(",");

/** Draw each of them beside the patient it may belong to. */
export async function patients(fill) {
  const { studies: strays } = await json("/api/conflicts/patients");
  if (!strays.length) {
    fill(line("None: no study names an identifier that was merged away.", "nothing"));
    return;
  }
  const pairs = await Promise.all(strays.map(pair));
  fill(line("These came under an identifier that was merged away. They are shown as they came.", "soft"), ...pairs);
}

async function pair(stray) {
  const [[study], [other]] = await Promise.all([
    studies({ StudyInstanceUID: stray.study }),
    studies({ PatientID: stray.belongs_to.id, ...issued(stray.belongs_to), limit: 1 }),
  ]);
  const made = document.createElement("article");
  made.className = "pair";
  made.setAttribute("aria-label", `${named(stray.names)}, merged into ${named(stray.belongs_to)}`);
  made.append(
    side("Came as", stray.names, study, other, [["Study", [date(text(study ?? {}, "00080020")), text(study ?? {}, "00081030")].filter(Boolean).join(", ")],
      ["Images", count(stray.instances)]]),
    side("Merged into", stray.belongs_to, other, study, [["Merged", moment(stray.merged_at)]]),
    choices(stray),
  );
  return made;
}

const studies = (query) => json(`/dicomweb/studies?${new URLSearchParams({ includefield: INCLUDED, ...query })}`);
const issued = (who) => (who.issuer ? { IssuerOfPatientID: who.issuer } : {});
const named = (who) => (who.issuer ? `${who.id} of ${who.issuer}` : who.id);

/** One of the two: what differs from the other is marked. */
function side(title, who, study, other, more) {
  const made = document.createElement("section");
  const head = Object.assign(document.createElement("h3"), { textContent: title });
  const list = document.createElement("dl");
  const add = (label, words, differs = false) => {
    if (!words) return;
    list.append(Object.assign(document.createElement("dt"), { textContent: label }),
      Object.assign(document.createElement("dd"), { textContent: words, className: differs ? "differs" : "" }));
  };
  add("Patient", named(who));
  for (const [tag, label, shown] of WHO) {
    const [mine, theirs] = [study, other].map((one) => (one ? text(one, tag) : ""));
    add(label, shown(mine), Boolean(mine && theirs && mine !== theirs));
  }
  if (!study) add("Studies", "none here yet");
  for (const [label, words] of more) add(label, words);
  made.append(head, list);
  return made;
}

/** The two ways to settle it, each with a reason. */
function choices(stray) {
  const made = document.createElement("p");
  made.className = "row";
  const [from, into] = [stray.names, stray.belongs_to].map(named);
  made.append(
    choice(`Merge into ${stray.belongs_to.id}`, `File what names ${from} under ${into}`, "Merge", { action: "merge", from: stray.names, into: stray.belongs_to }),
    choice("Keep apart", `${from} is another patient than ${into}`, "Keep apart", { action: "apart", patient: stray.names }),
  );
  return made;
}

function choice(label, question, act, asked) {
  return button(label, async (self) => {
    const reason = await askWhy(question, act);
    if (!reason) return;
    self.disabled = true;
    try {
      const made = await send("/api/corrections", { ...asked, reason });
      note(made.instances ? `${count(made.instances)} ${made.instances === 1 ? "instance" : "instances"} filed there, no pixel moved.` : "They are kept apart.", "good");
      changed();
    } catch (error) {
      note(`Nothing was changed: ${error.message}`, "bad");
      self.disabled = false;
    }
  });
}
