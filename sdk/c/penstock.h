// SPDX-License-Identifier: Apache-2.0
//
// penstock.h: write a Penstock plugin in C (C99 or later, clang for wasm32-wasi). Include it, and define what the plugin has of the
// functions under "What a plugin defines". README.md has whole plugins.
//
// Nothing here allocates. What a function hands out (names, values, bodies, JSON) points into the arena, where the host puts what it
// hands over: it is valid until the call from the host returns.
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Codes: 0 or more is "done". In brackets is what the host does.
enum {
  PENSTOCK_OK = 0,
  PENSTOCK_EAGAIN = -1,    // [tries again] try again later
  PENSTOCK_EINTR = -2,     // [tries again] the host wants the guest back: return now
  PENSTOCK_EOF = -3,       //               a source has finished for good; the end of a stream
  PENSTOCK_ETIMEDOUT = -4, // [tries again] it took too long
  PENSTOCK_EIO = -5,       // [tries again] the outside answered wrongly
  PENSTOCK_EINVAL = -6,    // [holds it]    a wrong argument
  PENSTOCK_EACCES = -7,    // [holds it]    not granted
  PENSTOCK_ETOOBIG = -8,   // [rejects]     over a limit: split it, or give it up
  PENSTOCK_ENOENT = -9,    // [tries again] it is not there, or not yet
  PENSTOCK_EREJECT = -10,  // [rejects]     this will never be taken
  PENSTOCK_ENOSYS = -11,   // [holds it]    the host or the plugin lacks this
};
enum { PENSTOCK_DEBUG = -4, PENSTOCK_INFO = 0, PENSTOCK_WARN = 4, PENSTOCK_ERROR = 8 }; // levels of penstock_log
enum { PENSTOCK_COUNTER = 0, PENSTOCK_GAUGE = 1 };                                      // kinds of penstock_metric

// ---- What a plugin defines. `len` bytes of a batch or an open request lie in penstock_arena.
#define PENSTOCK_EXPORT(name) __attribute__((export_name(#name)))
PENSTOCK_EXPORT(penstock_open) int32_t penstock_open(uint32_t len);   // all: see penstock_read_open
PENSTOCK_EXPORT(penstock_check) int32_t penstock_check(uint32_t len); // optional: a deeper look at the config, without I/O
PENSTOCK_EXPORT(penstock_close) int32_t penstock_close(void);         // optional: the last call; it may not come
PENSTOCK_EXPORT(penstock_idle) int32_t penstock_idle(void);           // optional: at most once a second
PENSTOCK_EXPORT(penstock_poll) int32_t penstock_poll(uint32_t max_events, uint32_t max_bytes, int32_t timeout_ms); // source
PENSTOCK_EXPORT(penstock_ack) void penstock_ack(uint64_t seq, int32_t status);                           // source, optional: 0 = durable
PENSTOCK_EXPORT(penstock_deliver) int32_t penstock_deliver(uint64_t first, uint64_t next, uint32_t len); // sink: 0 = it is safe there
PENSTOCK_EXPORT(penstock_prune) int32_t penstock_prune(uint64_t low);     // sink, optional: stored ranges below low may go
PENSTOCK_EXPORT(penstock_process) int32_t penstock_process(uint32_t len); // processor: emits exactly once

// ---- What the host does. Answers are 0 or more, or a code. Timeouts are milliseconds: 0 = do not wait, less = until the host wants the
// guest back. (ptr, cap): if the answer is more than cap nothing was written. `after`: 0 = at once, or what penstock_emit answered.
#define PENSTOCK_IMPORT(name) __attribute__((import_module("penstock"), import_name(#name)))
PENSTOCK_IMPORT(cursor) int32_t penstock_cursor(const void *key, uint32_t klen, const void *val, uint32_t vlen); // goes with the next emit
PENSTOCK_IMPORT(result) int32_t penstock_result(uint32_t index, int32_t code, const void *why, uint32_t len);    // of one event of a delivery
PENSTOCK_IMPORT(position) int32_t penstock_position(uint64_t incarnation, uint64_t first, uint64_t next);        // sink, in open
PENSTOCK_IMPORT(log) int32_t penstock_log(int32_t level, const void *text, uint32_t len);
PENSTOCK_IMPORT(metric) int32_t penstock_metric(int32_t kind, const void *name, uint32_t len, double value);
PENSTOCK_IMPORT(now) int64_t penstock_now(void); // wall clock, nanoseconds since 1970
PENSTOCK_IMPORT(sleep) int32_t penstock_sleep(int32_t ms);
PENSTOCK_IMPORT(secret) int32_t penstock_secret(const void *name, uint32_t nlen, void *ptr, uint32_t cap);
PENSTOCK_IMPORT(net_open) int32_t penstock_net_open(const void *name, uint32_t nlen, int32_t timeout); // dials, or hands over the listener
PENSTOCK_IMPORT(net_accept) int32_t penstock_net_accept(int32_t fd, int32_t timeout);
PENSTOCK_IMPORT(net_read) int32_t penstock_net_read(int32_t fd, void *ptr, uint32_t cap, int32_t timeout);
PENSTOCK_IMPORT(net_write) int32_t penstock_net_write(int32_t fd, const void *ptr, uint32_t len, int32_t timeout, uint64_t after);
PENSTOCK_IMPORT(net_recvfrom) int64_t penstock_net_recvfrom(int32_t fd, void *ptr, uint32_t cap, void *addr, uint32_t acap, int32_t timeout);
PENSTOCK_IMPORT(net_shutdown) int32_t penstock_net_shutdown(int32_t fd);
PENSTOCK_IMPORT(net_close) int32_t penstock_net_close(int32_t fd);
PENSTOCK_IMPORT(net_pass) int32_t penstock_net_pass(int32_t fd, const void *rest, uint32_t len); // to the next instance, with what was read and not emitted
PENSTOCK_IMPORT(net_info) int32_t penstock_net_info(int32_t fd, void *ptr, uint32_t cap); // JSON
PENSTOCK_IMPORT(net_wait) int32_t penstock_net_wait(uint32_t *out, uint32_t cap, int32_t timeout);
PENSTOCK_IMPORT(http_send) int32_t penstock_http_send(const void *name, uint32_t nlen, const void *batch, uint32_t len, int32_t timeout);
PENSTOCK_IMPORT(http_status) int32_t penstock_http_status(int32_t id, int32_t timeout);
PENSTOCK_IMPORT(http_head) int32_t penstock_http_head(int32_t id, void *ptr, uint32_t cap);
PENSTOCK_IMPORT(http_read) int32_t penstock_http_read(int32_t id, void *ptr, uint32_t cap, int32_t timeout);
PENSTOCK_IMPORT(http_close) int32_t penstock_http_close(int32_t id);
PENSTOCK_IMPORT(http_next) int32_t penstock_http_next(void *ptr, uint32_t cap, int32_t timeout);
PENSTOCK_IMPORT(http_reply) int32_t penstock_http_reply(int32_t id, int32_t status, const void *batch, uint32_t len, uint64_t after);
PENSTOCK_IMPORT(emit) int64_t penstock_import_emit(const void *ptr, uint32_t len); // see penstock_emit
PENSTOCK_IMPORT(fail) int32_t penstock_import_fail(int32_t code, int32_t delay_ms, const void *path, uint32_t plen, const void *msg, uint32_t mlen);

// penstock_fail says why, and hands the code back to be returned: the first line is what happened, the rest what the user can do.
// path is the argument of the config that is wrong, or NULL.
static inline int32_t penstock_fail(int32_t code, const char *path, const char *why) {
  penstock_import_fail(code, 0, path, path ? strlen(path) : 0, why, strlen(why));
  return code;
}

// ---- The arena: as large as the most that the host hands over, a batch of 16 MiB or an open request. What is never touched takes no
// memory. Define it smaller before the #include where limits.memory is tight. (weak: one of each, however many files include this.)
#ifndef PENSTOCK_ARENA
#define PENSTOCK_ARENA (17u << 20)
#endif
__attribute__((weak, aligned(16))) uint8_t penstock_arena[PENSTOCK_ARENA];
PENSTOCK_EXPORT(penstock_alloc) __attribute__((weak)) void *penstock_alloc(uint32_t n) { return n <= PENSTOCK_ARENA ? penstock_arena : NULL; }
PENSTOCK_EXPORT(penstock_abi_1) __attribute__((weak)) void penstock_abi_1(void) {}

// ---- Bytes, and pairs of them: an event's attributes, a cursor's entries.
typedef struct { const char *ptr; uint32_t len; } penstock_str; // not terminated by a zero
typedef struct { const uint8_t *at; uint32_t left; } penstock_pairs;

// Numbers are little-endian, as WebAssembly is, and not aligned.
static inline uint16_t penstock_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t penstock_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t penstock_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void penstock_put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void penstock_put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

static inline bool penstock_equal(penstock_str s, const char *other) {
  size_t n = strlen(other);
  return s.len == n && memcmp(s.ptr, other, n) == 0;
}

// penstock_pair hands out the next pair, or false at the end: for (penstock_pairs p = e.attributes; penstock_pair(&p, &name, &value);)
static inline bool penstock_pair(penstock_pairs *p, penstock_str *name, penstock_str *value) {
  if (p->left == 0) return false;
  name->len = penstock_u16(p->at), value->len = penstock_u32(p->at + 2);
  name->ptr = (const char *)p->at + 6, value->ptr = name->ptr + name->len;
  p->at = (const uint8_t *)value->ptr + value->len, p->left--;
  return true;
}

// penstock_find looks for the first pair of that name.
static inline bool penstock_find(penstock_pairs p, const char *name, penstock_str *value) {
  for (penstock_str key; penstock_pair(&p, &key, value);)
    if (penstock_equal(key, name)) return true;
  return false;
}

// penstock_utf8 is RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF.
static inline bool penstock_utf8(const uint8_t *p, uint32_t n) {
  for (uint32_t i = 0; i < n;) {
    uint8_t c = p[i++], low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (c < 0x80) continue;
    if (c < 0xC2 || c > 0xF4) return false;
    for (int more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3; more > 0; more--, low = 0x80, high = 0xBF)
      if (i >= n || p[i] < low || p[i++] > high) return false;
  }
  return true;
}

// penstock_walk checks that pairs lie before end, and answers where they end, or NULL. Lengths are added in 64 bits.
static inline const uint8_t *penstock_walk(const uint8_t *at, const uint8_t *end, uint32_t pairs, bool utf8) {
  for (; pairs > 0; pairs--) {
    if (end - at < 6) return NULL;
    uint32_t name = penstock_u16(at);
    uint64_t n = 6 + (uint64_t)name + penstock_u32(at + 2);
    if (n > (uint64_t)(end - at) || (utf8 && !penstock_utf8(at + 6, name))) return NULL;
    at += n;
  }
  return at;
}

// ---- The open request.
typedef struct {
  penstock_str json;     // {plugin, kind, config, instance, stream, incarnations}
  penstock_pairs cursor; // of a source: where to go on
} penstock_request;

static inline int32_t penstock_read_open(penstock_request *r, uint32_t len) {
  uint32_t n = len < 8 ? 0 : penstock_u32(penstock_arena);
  if (len < 8 || len > PENSTOCK_ARENA || n > len - 8) return penstock_fail(PENSTOCK_EINVAL, NULL, "the open request is cut");
  r->json = (penstock_str){(const char *)penstock_arena + 4, n};
  r->cursor = (penstock_pairs){penstock_arena + n + 8, penstock_u32(penstock_arena + n + 4)};
  if (penstock_walk(r->cursor.at, penstock_arena + len, r->cursor.left, false) == penstock_arena + len) return PENSTOCK_OK;
  return penstock_fail(PENSTOCK_EINVAL, NULL, "the cursor of the open request is cut");
}

// penstock_skip answers where the JSON value at p ends.
static inline const char *penstock_skip(const char *p, const char *end) {
  int depth = 0;
  for (bool text = false; p < end; p++) {
    if (text) {
      if (*p == '\\') p++;
      else if (*p == '"') text = false;
      if (!text && depth == 0) return p + 1;
    } else if (*p == '"') text = true;
    else if (*p == '{' || *p == '[') depth++;
    else if (depth == 0 && memchr(",:}] \t\r\n", *p, 8)) return p;
    else if ((*p == '}' || *p == ']') && --depth == 0) return p + 1;
  }
  return end;
}

static inline const char *penstock_blank(const char *p, const char *end) {
  while (p < end && memchr(" \t\r\n,:", *p, 6)) p++;
  return p;
}

// penstock_json finds what is at a path ("config.address") as it stands in the document: a string still has its quotes.
static inline bool penstock_json(penstock_str doc, const char *path, penstock_str *value) {
  const char *end = doc.ptr + doc.len, *p = penstock_blank(doc.ptr, end);
  for (; *path; path += *path == '.') {
    size_t n = strcspn(path, ".");
    bool found = false;
    if (p >= end || *p++ != '{') return false;
    while (!found && (p = penstock_blank(p, end)) < end && *p == '"') {
      const char *key = p + 1;
      p = penstock_skip(p, end);
      found = p - key == (ptrdiff_t)n + 1 && memcmp(key, path, n) == 0;
      p = penstock_blank(p, end);
      if (!found) p = penstock_skip(p, end);
    }
    if (!found || p >= end) return false;
    path += n;
  }
  *value = (penstock_str){p, (uint32_t)(penstock_skip(p, end) - p)};
  return true;
}

static inline int32_t penstock_hex4(const char *p, const char *end) {
  int32_t v = 0;
  for (int i = 0; i < 4; i++) {
    int c = p + i < end ? p[i] : 0, letter = c | 0x20;
    if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'f')) return -1;
    v = v * 16 + (c <= '9' ? c - '0' : letter - 'a' + 10);
  }
  return v;
}

// penstock_json_text writes the text of a JSON string and a zero into buf. Answers its length, or -1: it is no string, or there are not
// 5 bytes more than it needs.
static inline int32_t penstock_json_text(penstock_str value, char *buf, uint32_t cap) {
  if (value.len < 2 || value.ptr[0] != '"' || cap == 0) return -1;
  uint32_t n = 0;
  for (const char *p = value.ptr + 1, *end = value.ptr + value.len - 1; p < end; p++) {
    if (n + 5 > cap) return -1;
    if (*p != '\\' || ++p >= end) { buf[n++] = *p; continue; }
    const char *known = memchr("b\bf\fn\nr\rt\t", *p, 10);
    if (*p != 'u') { buf[n++] = known ? known[1] : *p; continue; }
    int32_t c = penstock_hex4(p + 1, end), low = -1;
    if (c < 0) return -1;
    p += 4;
    if (c >= 0xD800 && c < 0xDC00 && end - p > 2 && p[1] == '\\') low = penstock_hex4(p + 3, end);
    if (low >= 0xDC00 && low < 0xE000) c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00), p += 6;
    else if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    buf[n++] = (char)(more == 0 ? c : (0xFF00 >> (more + 1)) | (c >> (6 * more)));
    while (more-- > 0) buf[n++] = (char)(0x80 | ((c >> (6 * more)) & 0x3F));
  }
  buf[n] = 0;
  return (int32_t)n;
}

// penstock_json_int reads a JSON number that is an integer. Durations of a config come in nanoseconds, sizes in bytes.
static inline bool penstock_json_int(penstock_str value, int64_t *n) {
  bool minus = value.len > 0 && value.ptr[0] == '-';
  uint64_t v = 0, most = (uint64_t)INT64_MAX + minus;
  for (uint32_t i = minus; i < value.len; i++) {
    uint64_t digit = (uint64_t)value.ptr[i] - '0';
    if (digit > 9 || v > (most - digit) / 10) return false;
    v = v * 10 + digit;
  }
  *n = (int64_t)(minus ? 0 - v : v);
  return value.len > minus;
}

// penstock_decimal writes n, and answers how long that is: for cursors, which penstock_json_int reads.
static inline uint32_t penstock_decimal(char buf[20], int64_t n) {
  char digits[20];
  uint32_t len = 0, at = sizeof digits;
  uint64_t v = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  do digits[--at] = (char)('0' + v % 10); while (v /= 10);
  if (n < 0) buf[len++] = '-';
  memcpy(buf + len, digits + at, sizeof digits - at);
  return len + sizeof digits - at;
}

// ---- Reading a batch: of the arena, or of what http_next or http_head wrote. All bounds are checked on the way.
enum { PENSTOCK_MAGIC = 0x31425350, PENSTOCK_HEADER = 32, PENSTOCK_RECORD = 24, PENSTOCK_MARGIN = 64 };
typedef struct {
  uint64_t base; // base + delta is the offset of an event in its channel
  uint32_t left, delta;
  const uint8_t *at, *end;
} penstock_reader;
typedef struct {
  int64_t time;   // nanoseconds since 1970
  uint32_t delta; // a processor gives what it makes of this event the same
  uint32_t size;  // of record, in bytes
  const uint8_t *record;
  penstock_pairs attributes;
  penstock_str body;
} penstock_event;

// penstock_read begins: 0, or PENSTOCK_EINVAL if it is not a batch.
static inline int32_t penstock_read(penstock_reader *r, const void *batch, uint32_t len) {
  const uint8_t *b = batch;
  if (len < PENSTOCK_HEADER || penstock_u32(b) != PENSTOCK_MAGIC || penstock_u16(b + 4) != 1 || penstock_u16(b + 6) > 1 ||
      penstock_u32(b + 12) != len || penstock_u32(b + 20) != 0)
    return PENSTOCK_EINVAL;
  *r = (penstock_reader){.base = penstock_u64(b + 24), .left = penstock_u32(b + 8), .at = b + PENSTOCK_HEADER, .end = b + len};
  return PENSTOCK_OK;
}

// penstock_next answers 1: an event; 0: the end; PENSTOCK_EINVAL: the batch is broken.
static inline int32_t penstock_next(penstock_reader *r, penstock_event *e) {
  const uint8_t *p = r->at, *body = p + PENSTOCK_RECORD;
  if (r->left == 0) return p == r->end ? 0 : PENSTOCK_EINVAL;
  if (r->end - p < PENSTOCK_RECORD) return PENSTOCK_EINVAL;
  uint32_t size = penstock_u32(p), pairs = penstock_u16(p + 4), len = penstock_u32(p + 16), delta = penstock_u32(p + 20);
  if (size < PENSTOCK_RECORD || size > (size_t)(r->end - p) || penstock_u16(p + 6) != 0 || pairs > 1024) return PENSTOCK_EINVAL;
  if (delta < r->delta || r->base + delta < r->base) return PENSTOCK_EINVAL;
  if (pairs > 0 && !(body = penstock_walk(body, p + size, pairs, true))) return PENSTOCK_EINVAL;
  if ((size_t)(p + size - body) != len) return PENSTOCK_EINVAL;
  *e = (penstock_event){(int64_t)penstock_u64(p + 8), delta, size, p, {p + PENSTOCK_RECORD, pairs}, {(const char *)body, len}};
  r->at = p + size, r->delta = delta, r->left--;
  return 1;
}

// ---- Building a batch, in memory of yours. An event is penstock_event_begin, any number of penstock_attribute, and penstock_event_end,
// which alone needs to be looked at. After a code other than 0 the batch is as it was before the event: PENSTOCK_EAGAIN: it is full,
// emit it and add again; PENSTOCK_ETOOBIG: this event will never fit; PENSTOCK_EINVAL: its attributes are wrong.
typedef struct {
  uint8_t *buf;
  uint32_t cap, len, count, record, attributes;
  int32_t code;
} penstock_builder;

// penstock_begin begins a batch of at most cap bytes: in a source no more than max_bytes.
static inline void penstock_begin(penstock_builder *w, void *buf, uint32_t cap) {
  *w = (penstock_builder){.buf = buf, .cap = cap, .len = PENSTOCK_HEADER};
}

// penstock_room says whether the record that is open can have n bytes more.
static inline bool penstock_room(penstock_builder *w, uint64_t n) {
  uint64_t record = w->len - w->record + n;
  if (w->code == 0 && record + PENSTOCK_MARGIN > w->cap) w->code = PENSTOCK_ETOOBIG;
  if (w->code == 0 && w->record + record > w->cap) w->code = PENSTOCK_EAGAIN;
  return w->code == 0;
}

// delta: in a processor that of the event it was made from; in a source w->count.
static inline void penstock_event_begin(penstock_builder *w, int64_t time, uint32_t delta) {
  w->record = w->len, w->attributes = 0, w->code = 0;
  if (!penstock_room(w, PENSTOCK_RECORD)) return;
  penstock_put64(w->buf + w->len + 8, (uint64_t)time);
  penstock_put32(w->buf + w->len + 20, delta);
  w->len += PENSTOCK_RECORD;
}

static inline void penstock_attribute(penstock_builder *w, const char *name, uint32_t nlen, const void *val, uint32_t vlen) {
  bool reserved = nlen >= 9 && memcmp(name, "penstock.", 9) == 0;
  if (w->code == 0 && (nlen > UINT16_MAX || reserved || w->attributes == 1000 || !penstock_utf8((const uint8_t *)name, nlen)))
    w->code = PENSTOCK_EINVAL;
  if (!penstock_room(w, (uint64_t)6 + nlen + vlen)) return;
  uint8_t *p = w->buf + w->len;
  p[0] = (uint8_t)nlen, p[1] = (uint8_t)(nlen >> 8);
  penstock_put32(p + 2, vlen);
  if (nlen > 0) memcpy(p + 6, name, nlen);
  if (vlen > 0) memcpy(p + 6 + nlen, val, vlen);
  w->len += 6 + nlen + vlen, w->attributes++;
}

static inline int32_t penstock_event_end(penstock_builder *w, const void *body, uint32_t len) {
  if (!penstock_room(w, len)) {
    w->len = w->record;
    return w->code;
  }
  if (len > 0) memcpy(w->buf + w->len, body, len);
  w->len += len, w->count++;
  penstock_put32(w->buf + w->record, w->len - w->record);
  penstock_put32(w->buf + w->record + 4, w->attributes); // and a type of 0
  penstock_put32(w->buf + w->record + 16, len);
  return PENSTOCK_OK;
}

// penstock_keep adds an event as it is, with its delta.
static inline int32_t penstock_keep(penstock_builder *w, const penstock_event *e) {
  w->record = w->len, w->code = 0;
  if (!penstock_room(w, e->size)) return w->code;
  memcpy(w->buf + w->len, e->record, e->size);
  w->len += e->size, w->count++;
  return PENSTOCK_OK;
}

// penstock_finish writes the header: w->buf is then a batch of w->len bytes, for http_send or http_reply.
static inline void penstock_finish(penstock_builder *w) {
  const uint32_t header[8] = {PENSTOCK_MAGIC, 1, w->count, w->len};
  memcpy(w->buf, header, PENSTOCK_HEADER);
}

// penstock_emit sends the batch, and begins another when that was taken. Answers its number, from 1, or a code.
static inline int64_t penstock_emit(penstock_builder *w) {
  penstock_finish(w);
  int64_t seq = penstock_import_emit(w->buf, w->len);
  if (seq > 0) penstock_begin(w, w->buf, w->cap);
  return seq;
}
#endif
