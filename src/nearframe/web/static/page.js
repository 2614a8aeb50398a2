// The study page: QIDO-RS for the list, WADO-RS for pictures, STOW-RS for uploads,
// /api/status for the node's state. No library, no build step.

import "./node.js";
import { picture, toggle } from "./study.js";
import "./upload.js";
import { $, all, badge, date, json, note, onChange, personName, text } from "./values.js";

const PAGE = 50;
const LIST_FIELDS = "00081030,00080061,00201206,00201208,00100030";

const viewer = document.body.dataset.viewer;
let offset = 0;
let asked = 0; // answers of an older question are dropped

function question() {
  const query = new URLSearchParams({ limit: PAGE, offset, includefield: LIST_FIELDS, fuzzymatching: "true" });
  const put = (key, wanted) => { if (wanted) query.set(key, wanted); };
  put("PatientName", $("#q-name").value.trim() && `*${$("#q-name").value.trim()}*`);
  put("PatientID", $("#q-id").value.trim() && `*${$("#q-id").value.trim()}*`);
  put("AccessionNumber", $("#q-accession").value.trim() && `*${$("#q-accession").value.trim()}*`);
  put("StudyDescription", $("#q-description").value.trim() && `*${$("#q-description").value.trim()}*`);
  put("ModalitiesInStudy", $("#q-modality").value.trim().toUpperCase());
  const [from, to] = [$("#q-from").value, $("#q-to").value].map((day) => day.replaceAll("-", ""));
  if (from || to) query.set("StudyDate", `${from}-${to}`);
  return query;
}

async function search({ append = false } = {}) {
  if (!append) offset = 0;
  const mine = ++asked;
  let studies;
  try {
    studies = await json(`/dicomweb/studies?${question()}`, { headers: { Accept: "application/dicom+json" } });
  } catch (error) {
    if (mine === asked) note(`The search failed: ${error.message}`, "bad");
    return;
  }
  if (mine !== asked) return;
  const body = $("#studies tbody");
  if (!append) body.replaceChildren();
  for (const study of studies) body.append(row(study));
  $("#more").hidden = studies.length < PAGE;
  const filtered = [...$("#search").querySelectorAll("input")].some((input) => input.value);
  $("#empty").hidden = body.children.length > 0;
  $("#empty").textContent = filtered ? "No study matches." : "No studies yet. Drop some DICOM files above.";
}

function row(study) {
  const uid = text(study, "0020000D");
  const line = $("#row").content.firstElementChild.cloneNode(true);
  line.dataset.uid = uid;
  const put = (name, content) => { $(name, line).textContent = content; };
  put(".name", personName(text(study, "00100010")) || "(no name)");
  put(".id", text(study, "00100020"));
  put(".born", date(text(study, "00100030")));
  put(".date", date(text(study, "00080020")));
  $(".modality", line).append(...all(study, "00080061").map((modality) => badge(modality)));
  put(".description", text(study, "00081030"));
  put(".series", text(study, "00201206"));
  put(".images", text(study, "00201208"));
  $(".images", line).dataset.noun = text(study, "00201208") === "1" ? " image" : " images";
  picture($(".thumb", line), `/dicomweb/studies/${encodeURIComponent(uid)}/thumbnail`, all(study, "00080061"));
  const open = $(".open", line);
  if (viewer) {
    open.href = `${viewer}viewer?StudyInstanceUIDs=${encodeURIComponent(uid)}`;
  } else {
    open.setAttribute("aria-disabled", "true");
    open.title = "The viewer is not installed: run  nearframe viewer install";
  }
  open.addEventListener("click", (event) => event.stopPropagation());
  line.addEventListener("click", () => toggle(line));
  line.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === line) toggle(line); });
  return line;
}

let pending;
$("#search").addEventListener("input", () => { clearTimeout(pending); pending = setTimeout(search, 180); });
$("#search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("#search").addEventListener("reset", () => setTimeout(search));
$("#more").addEventListener("click", () => { offset += PAGE; search({ append: true }); });
onChange(() => search());
search();
