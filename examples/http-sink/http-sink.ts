// SPDX-License-Identifier: Apache-2.0
//
// A sink that posts each batch to a URL, one body a line. 2xx: it is there. 408, 429 and 5xx: tried again, for ever. Other answers: the destination
// will not take this batch, and it goes to the dead letters.
import { Batch, Builder, Code, Request, fail, raw } from "./penstock";
export { penstock_abi_1, penstock_alloc } from "./penstock";

const batch = new Batch();
const request = new Builder(17 << 20); // a batch of one event: its attributes are the method and the headers
const lines = heap.alloc(16 << 20);
const url = String.UTF8.encode("url"); // the handle's name in plugin.hcl; the pipeline grants the URL
let contentType = "application/x-ndjson", timeout: i32 = 0;

export function penstock_open(len: i32): i32 {
  const r = Request.read(len);
  if (r == null) return Code.INVALID;
  const c = r.config("content_type"), t = r.config("timeout");
  if (c != null) contentType = c.text;
  if (t == null || !t.isInt || t.int < 1000000) return fail(Code.INVALID, "timeout", "timeout is less than a millisecond");
  timeout = <i32>min<i64>(t.int / 1000000, i32.MAX_VALUE);
  return Code.OK;
}

export function penstock_deliver(first: u64, next: u64, len: i32): i32 {
  let n: usize = 0;
  for (batch.read(len); batch.next(); n += batch.bodyLength + 1) {
    memory.copy(lines + n, batch.body, batch.bodyLength);
    store<u8>(lines + n + batch.bodyLength, 0x0a);
  }
  if (n == 0) return batch.code;
  request.reset();
  request.begin(0, 0);
  request.attribute(":method", "POST");
  request.attribute("content-type", contentType);
  // The same events come with the same range, however often they are tried: a destination may look for it.
  request.attribute("idempotency-key", first.toString() + "-" + next.toString());
  if (request.end(lines, n) < 0) return fail(Code.TOO_BIG, "", "the request is over the limit");
  const at = request.finish();
  const id = raw.http_send(changetype<usize>(url), url.byteLength, at, request.length, timeout);
  if (id < 0) return fail(id, "url", "the request cannot be sent");
  const status = raw.http_status(id, timeout);
  raw.http_close(id);
  return answer(status);
}

function answer(status: i32): i32 {
  if (status < 0) return fail(status, "", "no answer");
  if (status >= 200 && status < 300) return Code.OK;
  const why = "the destination answers with status " + status.toString();
  if (status == 408 || status == 429 || status >= 500) return fail(Code.AGAIN, "", why);
  return fail(Code.REJECTED, "", why);
}
