// What a frame's answer carries, and its digest.

const HEAD_BYTES = 1024; // viewers want the blank line within 1000 bytes, so nodes write it there
const latin1 = new TextDecoder("latin1");

/**
 * Return the payload of an answer: the part of a multipart/related one, or all of it.
 *
 * @param {ArrayBuffer} body
 * @param {string} contentType
 * @returns {ArrayBuffer | null} null if it is not one part as our nodes write it
 */
export function payloadOf(body, contentType) {
  if (!contentType.startsWith("multipart/")) return body;
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1];
  if (!boundary) return null;
  const start = latin1.decode(body.slice(0, HEAD_BYTES)).indexOf("\r\n\r\n");
  const closing = `\r\n--${boundary}--\r\n`;
  const stop = body.byteLength - closing.length;
  if (start < 0 || stop < start + 4 || latin1.decode(body.slice(stop)) !== closing) return null;
  return body.slice(start + 4, stop);
}

/**
 * @param {ArrayBuffer} bytes
 * @returns {Promise<string>} SHA-256 in hex
 */
export async function digestOf(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
