// For pages: put the node's worker in charge, or take it away.

const CACHES = "nearframe:";

/**
 * @param {"off" | "session" | "persistent"} keep
 * @param {number} bytes
 * @returns {Promise<void>}
 */
export async function useWorker(keep, bytes) {
  if (!("serviceWorker" in navigator)) return; // no secure context: neither TLS nor this machine itself
  if (keep === "off") {
    const registrations = await navigator.serviceWorker.getRegistrations();
    await Promise.all(registrations.map((one) => one.unregister()));
    await forgetStudies();
    return;
  }
  const address = `/worker/worker.js?keep=${keep}&bytes=${bytes}`;
  await navigator.serviceWorker.register(address, { type: "module", scope: "/", updateViaCache: "none" });
  await controlled();
}

/** Forget every study that is kept in this browser. */
export async function forgetStudies() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(CACHES)).map((name) => caches.delete(name)));
}

/** @returns {Promise<{studies: number, bytes: number}>} what is kept in this browser */
export async function keptStudies() {
  const studies = (await caches.keys()).filter((name) => name.startsWith(`${CACHES}study:`)).length;
  return { studies, bytes: (await navigator.storage.estimate()).usage ?? 0 };
}

function controlled() {
  if (navigator.serviceWorker.controller) return undefined;
  return new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(undefined), { once: true });
  });
}
