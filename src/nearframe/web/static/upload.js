// Files that are dropped or chosen are stored (STOW-RS), a few at a time.

import { $, all, changed, note, problem, text } from "./values.js";

const UPLOADS_AT_ONCE = 3;

async function upload(files) {
  const queue = [...files];
  if (!queue.length) return;
  const bar = $("#upload");
  const counts = { stored: 0, warned: 0, failed: 0 };
  const reasons = new Map();
  let done = 0;
  bar.hidden = false;
  bar.value = 0;
  const total = queue.length;
  const worker = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      await store(file, counts, reasons);
      done += 1;
      bar.value = done / total;
      $("#drop-text").textContent = `Storing ${done} of ${total} …`;
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  bar.hidden = true;
  resetDrop();
  const lines = [`${counts.stored} stored${counts.warned ? `, ${counts.warned} of them with a warning` : ""}` +
    `${counts.failed ? `, ${counts.failed} refused` : ""}.`];
  for (const [reason, count] of reasons) lines.push(`${count} × ${reason}`);
  note(lines.join("\n"), counts.failed ? "bad" : counts.warned ? "warn" : "good");
  changed();
}

async function store(file, counts, reasons) {
  const say = (reason) => reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  try {
    const response = await fetch("/dicomweb/studies", {
      method: "POST",
      headers: { "Content-Type": "application/dicom", Accept: "application/dicom+json" },
      body: file,
    });
    const type = response.headers.get("content-type") ?? "";
    if (!type.includes("dicom+json")) {
      counts.failed += 1;
      say(await problem(response));
      return;
    }
    const answer = await response.json();
    const failed = all(answer, "00081198").length + all(answer, "0008119A").length;
    counts.failed += failed;
    counts.stored += all(answer, "00081199").length;
    if (failed) say(text([...all(answer, "00081198"), ...all(answer, "0008119A")][0], "00000902") || "not a DICOM object we can place");
    if (all(answer, "00081199").some((item) => item["00081196"])) {
      counts.warned += 1;
      say("same UID, other pixels: kept as a conflict, not shown as current");
    }
  } catch (error) {
    counts.failed += 1;
    say(`the node did not answer (${error.message})`);
  }
}

const dropText = $("#drop-text").innerHTML;
function resetDrop() {
  $("#drop-text").innerHTML = dropText;
  $("#files").addEventListener("change", (event) => upload(event.target.files));
}

async function entries(items) {
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader hands out at most a hundred entries a call
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await walk(child);
    }
  };
  // All are taken at once: the list is empty after the first wait. What is no entry may be a file all the same.
  const dropped = [...items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  for (const one of dropped.filter(Boolean)) {
    if (one instanceof File) files.push(one);
    else await walk(one);
  }
  return files;
}

const drop = $("#drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
document.addEventListener("drop", async (event) => upload(await entries(event.dataTransfer.items)));
drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") $("#files").click(); });
resetDrop();
