// SPDX-License-Identifier: Apache-2.0
//
// The plugin by which the SDK is tested, and an example of one module with all three kinds: a source that counts, a processor that hands on
// what it is given, a sink that looks at everything and keeps nothing.
import { Batch, Builder, Code, Request, fail, metric, raw, setCursor } from "./penstock";
export { penstock_abi_1, penstock_alloc } from "./penstock";

const batch = new Batch(); // used again for each call, as is the builder
const out = new Builder(16 << 20);
let kind = "", mode = "keep";
let count: i64 = 0, next: i64 = 0;

export function penstock_open(len: i32): i32 {
  const r = Request.read(len);
  if (r == null) return fail(Code.INVALID, "", "the open request is cut");
  const k = r.json.get("kind"), n = r.config("count"), m = r.config("mode"), at = r.cursor.get("next");
  if (k != null) kind = k.text;
  if (n != null) {
    if (!n.isInt) return fail(Code.INVALID, "count", "count is not a whole number");
    count = n.int;
  }
  if (m != null) mode = m.text;
  if (mode != "keep" && mode != "rebuild" && mode != "half") return fail(Code.INVALID, "mode", "no such mode\nIt is keep, rebuild or half.");
  if (at != null) next = I64.parseInt(at);
  return Code.OK;
}

export function penstock_poll(maxEvents: i32, maxBytes: i32, timeoutMs: i32): i32 {
  if (kind != "source") return Code.NOT_SUPPORTED;
  if (next >= count) return Code.EOF;
  const w = out;
  w.reset(maxBytes);
  for (; next < count && w.count < <u32>maxEvents; next++) {
    w.begin(raw.now(), w.count);
    w.attribute("kind", "echo");
    const code = w.endText("event " + next.toString());
    if (code == Code.AGAIN) break;
    if (code < 0) return code;
  }
  setCursor("next", next.toString());
  return <i32>min(w.emit(), 0);
}

export function penstock_deliver(first: u64, end: u64, len: i32): i32 {
  if (kind != "sink") return Code.NOT_SUPPORTED;
  let bytes: usize = 0;
  for (batch.read(len); batch.next(); bytes += batch.bodyLength) {
    const at = batch.base + batch.delta;
    if (at < first || at >= end) return fail(Code.IO, "", "an event outside of the range");
  }
  metric(0, "bytes", <f64>bytes);
  return batch.code;
}

export function penstock_process(len: i32): i32 {
  if (kind != "processor") return Code.NOT_SUPPORTED;
  const w = out, b = batch.read(len);
  w.reset();
  let code = 0;
  if (mode == "rebuild") while (code == 0 && b.next()) code = again(w);
  else if (mode == "half") for (let odd = false; code == 0 && b.next(); odd = !odd) code = odd ? 0 : w.keep(b);
  else while (code == 0 && b.next()) code = w.keep(b);
  if (code < 0) return fail(code, "", "an event cannot be encoded");
  if (batch.code < 0) return fail(batch.code, "", "a broken batch");
  return <i32>min(w.emit(), 0);
}

// again encodes an event attribute by attribute.
function again(w: Builder): i32 {
  w.begin(batch.time, batch.delta);
  for (let p = batch.attributes(); p.next(); ) w.attributeBytes(p.nameAt, p.nameLength, p.value, p.valueLength);
  return w.end(batch.body, batch.bodyLength);
}
