// What is kept in this browser: a cache for each study, and when each was last used.
//
//   nearframe:study:<UID>   frames under their validators, the frame table, metadata
//   nearframe:used          for each study the time of its last use
//
// Whole studies go, the longest unused first: half a study saves its reader little.

const STUDY = "nearframe:study:";
const USED = "nearframe:used";
const HELD = "/.nearframe/"; // no node answers below this path: these addresses are names only
const QUOTA_SHARE = 0.5; // of what the browser allows all pages of this node
const NOTE_USE_MS = 60_000;
const LOOK_EVERY = 32; // frames kept between two looks at the room left

const address = new URL(self.location.href);

/** How much may be kept, and for how long: said by the node in the worker's address. */
export const rules = {
  keep: address.searchParams.get("keep") ?? "session",
  bytes: Number(address.searchParams.get("bytes")) || Infinity,
};

/** @type {Map<string, number>} */
const noted = new Map();
let kept = 0;

/** @param {string} study @returns {Promise<Cache>} */
const cacheOf = (study) => caches.open(STUDY + study);

/**
 * @param {string} study
 * @param {string} name a validator, or what else is kept of a study by name
 * @returns {Promise<Response | undefined>}
 */
export async function held(study, name) {
  return (await cacheOf(study)).match(HELD + encodeURIComponent(name));
}

/**
 * Keep something of a study; where there is no room, another study goes for it.
 *
 * @param {string} study
 * @param {string | Request} name
 * @param {() => Response} make called once more if the first try finds no room
 * @returns {Promise<void>}
 */
export async function keep(study, name, make) {
  const cache = await cacheOf(study);
  const key = typeof name === "string" ? HELD + encodeURIComponent(name) : name;
  await noteUse(study);
  try {
    await cache.put(key, make());
  } catch (error) {
    if (error.name !== "QuotaExceededError" || !(await evictOne(study))) return;
    await cache.put(key, make()).catch(() => undefined); // still no room: it is fetched again next time
  }
  kept += 1;
  if (kept % LOOK_EVERY === 0) await makeRoom(study);
}

/** @param {string} study @param {Request} request @returns {Promise<Response | undefined>} */
export async function heldDocument(study, request) {
  return (await cacheOf(study)).match(request);
}

/** @param {string} study @param {string} name @returns {Promise<boolean>} */
export async function drop(study, name) {
  return (await cacheOf(study)).delete(HELD + encodeURIComponent(name));
}

/** Forget every study. */
export async function forget() {
  noted.clear();
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name === USED || name.startsWith(STUDY)).map((name) => caches.delete(name)));
}

/** @param {string} study @returns {Promise<void>} */
export async function noteUse(study) {
  const now = Date.now();
  if (now - (noted.get(study) ?? 0) < NOTE_USE_MS) return;
  noted.set(study, now);
  await (await caches.open(USED)).put(HELD + study, new Response(String(now))).catch(() => undefined);
}

/** @param {string} inUse @returns {Promise<void>} */
async function makeRoom(inUse) {
  for (;;) {
    const { usage = 0, quota = Infinity } = await navigator.storage.estimate();
    if (usage <= Math.min(quota * QUOTA_SHARE, rules.bytes) || !(await evictOne(inUse))) return;
  }
}

/**
 * Drop the study that was not used for longest.
 *
 * @param {string} inUse never this one
 * @returns {Promise<boolean>} false if there is no other
 */
async function evictOne(inUse) {
  const used = await caches.open(USED);
  const ages = [];
  for (const name of await caches.keys()) {
    if (!name.startsWith(STUDY) || name === STUDY + inUse) continue;
    const study = name.slice(STUDY.length);
    const at = await used.match(HELD + study);
    ages.push({ study, at: at ? Number(await at.text()) : 0 });
  }
  if (!ages.length) return false;
  const { study } = ages.reduce((oldest, one) => (one.at < oldest.at ? one : oldest));
  noted.delete(study);
  await Promise.all([caches.delete(STUDY + study), used.delete(HELD + study)]);
  return true;
}
