// SPDX-License-Identifier: Apache-2.0
//
// The plugin by which the SDK is tested, and an example of one module with all three kinds: a source that counts, a processor that hands
// on what it is given, a sink that looks at everything and keeps nothing.
#include "penstock.h"

static enum { SOURCE, SINK, PROCESSOR } kind;
static int64_t count;          // config of the source: how many events
static bool rebuild, lose, trap; // config of the processor: encode anew what could be kept; drop every other event; break
static int64_t next;           // the cursor
static uint8_t out[17u << 20]; // the batch that is being built

static int32_t open_source(penstock_request *r) {
  penstock_str value;
  if (penstock_json(r->json, "config.count", &value) && !penstock_json_int(value, &count))
    return penstock_fail(PENSTOCK_EINVAL, "count", "count is not a whole number");
  if (penstock_find(r->cursor, "next", &value) && !penstock_json_int(value, &next))
    return penstock_fail(PENSTOCK_EINVAL, NULL, "the cursor is not a number");
  return PENSTOCK_OK;
}

int32_t penstock_open(uint32_t len) {
  penstock_request r;
  penstock_str value;
  char text[32];
  if (penstock_read_open(&r, len) != 0 || !penstock_json(r.json, "kind", &value)) return PENSTOCK_EINVAL;
  if (penstock_equal(value, "\"source\"")) return kind = SOURCE, open_source(&r);
  kind = penstock_equal(value, "\"sink\"") ? SINK : PROCESSOR;
  if (!penstock_json(r.json, "config.mode", &value)) return PENSTOCK_OK;
  if (penstock_json_text(value, text, sizeof text) < 0) return penstock_fail(PENSTOCK_EINVAL, "mode", "mode is not a short text");
  rebuild = strcmp(text, "rebuild") == 0, lose = strcmp(text, "half") == 0, trap = strcmp(text, "panic") == 0;
  if (!rebuild && !lose && !trap && strcmp(text, "keep") != 0) return penstock_fail(PENSTOCK_EINVAL, "mode", "no such mode\nIt is keep, rebuild, half or panic.");
  return PENSTOCK_OK;
}

int32_t penstock_poll(uint32_t max_events, uint32_t max_bytes, int32_t timeout_ms) {
  (void)timeout_ms;
  if (kind != SOURCE) return PENSTOCK_ENOSYS;
  if (next >= count) return PENSTOCK_EOF;
  penstock_builder w;
  penstock_begin(&w, out, max_bytes < sizeof out ? max_bytes : sizeof out);
  char body[32] = "event ";
  for (; next < count && w.count < max_events; next++) {
    penstock_event_begin(&w, penstock_now(), w.count);
    penstock_attribute(&w, "kind", 4, "echo", 4);
    int32_t code = penstock_event_end(&w, body, 6 + penstock_decimal(body + 6, next));
    if (code == PENSTOCK_EAGAIN) break;
    if (code < 0) return code;
  }
  penstock_cursor("next", 4, body, penstock_decimal(body, next));
  int64_t seq = penstock_emit(&w);
  return seq < 0 ? (int32_t)seq : PENSTOCK_OK;
}

int32_t penstock_deliver(uint64_t first, uint64_t end, uint32_t len) {
  if (kind != SINK) return PENSTOCK_ENOSYS;
  penstock_reader r;
  penstock_event e;
  int32_t more = penstock_read(&r, penstock_arena, len);
  uint64_t bytes = 0;
  if (more < 0) return more;
  while ((more = penstock_next(&r, &e)) > 0) {
    bytes += e.body.len;
    if (r.base + e.delta < first || r.base + e.delta >= end) return penstock_fail(PENSTOCK_EIO, NULL, "an event outside of the range");
  }
  penstock_metric(PENSTOCK_COUNTER, "bytes", 5, (double)bytes);
  return more;
}

// again encodes an event attribute by attribute.
static int32_t again(penstock_builder *w, const penstock_event *e) {
  penstock_str name, value;
  penstock_event_begin(w, e->time, e->delta);
  for (penstock_pairs p = e->attributes; penstock_pair(&p, &name, &value);) penstock_attribute(w, name.ptr, name.len, value.ptr, value.len);
  return penstock_event_end(w, e->body.ptr, e->body.len);
}

int32_t penstock_process(uint32_t len) {
  if (kind != PROCESSOR) return PENSTOCK_ENOSYS;
  if (trap) __builtin_trap();
  penstock_reader r;
  penstock_event e;
  penstock_builder w;
  if (penstock_read(&r, penstock_arena, len) != 0) return penstock_fail(PENSTOCK_EINVAL, NULL, "not a batch");
  penstock_begin(&w, out, sizeof out);
  int32_t more, code;
  for (bool odd = false; (more = penstock_next(&r, &e)) > 0; odd = !odd) {
    if (lose && odd) continue;
    code = rebuild ? again(&w, &e) : penstock_keep(&w, &e);
    if (code < 0) return penstock_fail(code, NULL, "an event cannot be encoded");
  }
  if (more < 0) return penstock_fail(more, NULL, "a broken batch");
  int64_t seq = penstock_emit(&w);
  return seq < 0 ? (int32_t)seq : PENSTOCK_OK;
}
