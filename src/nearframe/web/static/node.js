// How the node stands, and what this browser keeps of its studies.

import { forgetStudies, keptStudies, useWorker } from "/worker/register.js";
import { which, whose } from "./conflicts.js";
import { $, archive, card, changed, count, json, line, note, onChange, size } from "./values.js";

const STATUS_MS = 3000;
const CONFLICTS_SHOWN = 5;
const JOBS = { pix: "pixel digests", perceptual: "perceptual hashes" };
const { keep, keepBytes } = document.body.dataset;

const ago = (seconds) => (seconds < 2 ? "now" : seconds < 120 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`);
const place = (cursor) => cursor?.split(":").pop(); // "epoch:seq": people compare the second

async function conflictList() {
  if (!archive) return undefined; // the card below says where they are
  const { conflicts, total } = await json(`/api/conflicts?limit=${CONFLICTS_SHOWN}`).catch(() => ({ conflicts: [] }));
  if (!conflicts.length) return undefined;
  const list = document.createElement("ul");
  for (const conflict of conflicts) {
    const item = document.createElement("li");
    item.append(line(whose(conflict), "name"), line(which(conflict)), line(`Other pixels under its UID, from ${conflict.source}`));
    list.append(item);
  }
  const both = document.createElement("li");
  const look = Object.assign(document.createElement("a"), { href: "/archive#conflicts", textContent: "Look at both and choose" });
  both.append(look, total > conflicts.length ? ` … and ${count(total - conflicts.length)} more` : "");
  list.append(both);
  return list;
}

const isArchive = (upstream) => upstream.kind !== "nearframe"; // any product's: it has no feed to follow

function upstreamInWords(upstream) {
  const name = isArchive(upstream) ? "archive" : "upstream";
  if (!upstream.reachable) return `${name} away: serving what is held here`;
  if (upstream.problem) return `${name} answers, but not as it should`;
  return isArchive(upstream) ? "in front of an archive" : "following the upstream";
}

function upstreamCard(upstream) {
  const away = !upstream.reachable;
  const rows = [
    [isArchive(upstream) ? "Archive" : "Upstream", away ? "away" : "reachable", away || upstream.problem ? "warn" : "good"],
    ["Last contact", upstream.last_contact_s === null ? "never" : ago(upstream.last_contact_s)],
  ];
  if (!isArchive(upstream)) {
    rows.push(
      ["Studies to update", away ? "not known" : count(upstream.lag), upstream.lag ? "warn" : ""],
      ["Changes taken over", place(upstream.cursor)],
    );
  }
  const title = isArchive(upstream) ? "The archive behind this edge" : "Following the upstream";
  return card(title, rows, !away && upstream.problem ? line(upstream.problem, "warn") : undefined);
}

function movedCard(moved) {
  const counted = (number, bytes) => `${count(number)} (${size(bytes)})`;
  const kinds = moved.files === undefined ? [
    ["Frames", counted(moved.frames, moved.frame_bytes)],
    ["Headers", size(moved.header_bytes)],
    ["Manifests and deltas", size(moved.manifest_bytes + moved.delta_bytes)],
  ] : [
    ["Files", counted(moved.files, moved.file_bytes)],
    ["Searches, metadata", size(moved.document_bytes)],
  ];
  return card("Moved over the line since the start", [
    ...kinds, ["Served from here", size(moved.saved_bytes), moved.saved_bytes ? "good" : ""],
  ]);
}

async function status() {
  const health = $("#health");
  let state;
  try {
    state = await json("/api/status");
  } catch (error) {
    health.className = "pill bad";
    health.textContent = `no answer: ${error.message}`;
    return;
  }
  const cards = [];
  const upstream = state.upstream;
  if (upstream) {
    const away = !upstream.reachable;
    if (document.body.classList.contains("away") && !away) changed(); // pictures that could not be had
    document.body.classList.toggle("away", away);
    health.className = `pill ${away || upstream.problem ? "warn" : "good"}`;
    health.textContent = upstreamInWords(upstream);
    cards.push(upstreamCard(upstream), movedCard(state.moved ?? {}));
    const outbox = state.outbox;
    if (outbox) {
      const waiting = outbox.spooled + outbox.sent;
      cards.push(card("Taken in here", [
        ["Waiting for the upstream", count(waiting), waiting ? "warn" : ""],
        ["Oldest", outbox.oldest_s === null ? undefined : ago(outbox.oldest_s)],
        ["Refused", count(outbox.refused), outbox.refused ? "bad" : ""],
        ["Forwarded", count(outbox.verified)],
      ]));
    }
  } else {
    health.className = "pill good";
    health.textContent = "serving";
  }
  const counts = state.counts ?? {};
  cards.push(card(archive ? "Archive" : "Known here", [
    ["Studies", count(counts.studies)], ["Series", count(counts.series)], ["Instances", count(counts.instances)],
    [archive ? "Changes so far" : "Changes recorded here", place(state.feed?.head)],
  ]));
  const store = state.store ?? {};
  cards.push(card("Store", [
    ["On disk", size(store.stored_bytes)], ["Contents", count(store.contents)],
    ["Duplicates not stored", store.reused_bytes ? size(store.reused_bytes) : undefined, "good"],
    ["Free on this disk", size(store.free_bytes)],
  ]));
  const jobs = Object.entries(state.background ?? {});
  if (jobs.length) {
    cards.push(card("Background work", jobs.map(([name, job]) => [
      JOBS[name] ?? name, job.lag ? `${count(job.lag)} to do` : "up to date", job.failed ? "warn" : "",
    ])));
  }
  const conflicts = await conflictList();
  if (conflicts) cards.push(card("Conflicts to resolve", [], conflicts));
  if (state.tiers) { // not before another archive, which has none of these
    cards.push(card("At the origin only", [], line("Conflicts and their resolution, similar pictures and priors, and the report of what is held twice.")));
  }
  const kept = await browserCard();
  if (kept) cards.push(kept);
  $("#cards").replaceChildren(...cards);
}

async function browserCard() {
  if (keep === "off" || !navigator.serviceWorker?.controller) return undefined;
  const { studies, bytes } = await keptStudies();
  if (!studies) return undefined;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Forget";
  button.title = "Drop every study that is kept in this browser";
  button.addEventListener("click", async () => { await forgetStudies(); await status(); });
  return card("Kept in this browser", [["Studies", count(studies)], ["Size", size(bytes)]], button);
}

onChange(status);
useWorker(keep, keepBytes).catch((error) => console.warn("no service worker:", error));
status();
setInterval(() => { if (!document.hidden) status(); }, STATUS_MS);
