// SPDX-License-Identifier: Apache-2.0
//
// A source that takes lines over TCP, from many connections at once; sink.c is the sink that sends them. What has been read of a connection lies in a buffer of its own until its
// lines are in a batch; a connection whose lines found no room is not read from, and TCP makes its sender wait.
#include <wasm_simd128.h>

#include "../../sdk/c/penstock.h"

enum { CONNECTIONS = 128, LINE = 64 << 10, READY = 64 };

static struct connection {
  int32_t fd;    // 0: free
  uint32_t len;  // bytes in buf
  bool ended;    // the sender has; what is left is a line
  bool waiting;  // the batch was full before all lines were in it
  char buf[LINE]; // also the longest line; longer ones become several
} connections[CONNECTIONS];

static int32_t listener;
static uint8_t out[4 << 20];

int32_t penstock_open(uint32_t len) {
  penstock_request r;
  penstock_str kind;
  if (penstock_read_open(&r, len) < 0) return PENSTOCK_EINVAL;
  if (penstock_json(r.json, "kind", &kind) && penstock_equal(kind, "\"sink\"")) return PENSTOCK_OK; // it dials when it has something to send
  listener = penstock_net_open("listen", 6, 0);
  return listener < 0 ? penstock_fail(listener, "listen", "cannot listen") : PENSTOCK_OK;
}

// add puts one line into the batch. false: it is full.
static bool add(penstock_builder *w, uint32_t most, int64_t time, const char *line, uint32_t len) {
  if (w->count >= most) return false;
  if (len > 0 && line[len - 1] == '\r') len--;
  penstock_event_begin(w, time, w->count);
  return penstock_event_end(w, line, len) == PENSTOCK_OK;
}

// find_newline is memchr, sixteen bytes at a time: that of the C library looks at four, and took more than all else that is done here.
static char *find_newline(char *p, char *end) {
  const v128_t newline = wasm_i8x16_splat('\n');
  for (; end - p >= 16; p += 16) {
    uint32_t found = wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(p), newline));
    if (found != 0) return p + __builtin_ctz(found);
  }
  return memchr(p, '\n', (size_t)(end - p));
}

// take moves whole lines of a connection into the batch.
static void take(struct connection *c, penstock_builder *w, uint32_t most, int64_t time) {
  char *line = c->buf, *end = c->buf + c->len, *newline;
  c->waiting = false;
  while (!c->waiting && (newline = find_newline(line, end))) {
    if (add(w, most, time, line, (uint32_t)(newline - line))) line = newline + 1;
    else c->waiting = true;
  }
  uint32_t left = (uint32_t)(end - line);
  if (!c->waiting && left > 0 && (c->ended || left == LINE)) {
    if (add(w, most, time, line, left)) line = end;
    else c->waiting = true;
  }
  c->len = (uint32_t)(end - line);
  memmove(c->buf, line, c->len);
  if (c->ended && !c->waiting) {
    penstock_net_close(c->fd);
    c->fd = 0;
  }
}

// read_from reads what there is of a connection.
static void read_from(struct connection *c, penstock_builder *w, uint32_t most, int64_t time) {
  while (!c->waiting && c->fd != 0) {
    int32_t n = penstock_net_read(c->fd, c->buf + c->len, LINE - c->len, 0);
    if (n == PENSTOCK_EAGAIN || n == PENSTOCK_EINTR) return;
    if (n <= 0) c->ended = true;
    else c->len += (uint32_t)n;
    take(c, w, most, time);
  }
}

static void accept_all(void) {
  for (struct connection *c = connections; c < connections + CONNECTIONS; c++) {
    if (c->fd != 0) continue;
    int32_t fd = penstock_net_accept(listener, 0);
    if (fd < 0) return;
    c->fd = fd, c->len = 0, c->ended = c->waiting = false;
  }
}

// The next instance goes on with the connections: what has been read and is in no batch it reads again. Those that cannot be passed on end with this one.
int32_t penstock_close(void) {
  for (struct connection *c = connections; c < connections + CONNECTIONS; c++)
    if (c->fd != 0) penstock_net_pass(c->fd, c->buf, c->len);
  return PENSTOCK_OK;
}

int32_t penstock_poll(uint32_t max_events, uint32_t max_bytes, int32_t timeout_ms) {
  penstock_builder w;
  penstock_begin(&w, out, max_bytes < sizeof out ? max_bytes : sizeof out);
  int64_t now = penstock_now();
  for (struct connection *c = connections; c < connections + CONNECTIONS; c++) {
    if (c->fd == 0 || !c->waiting) continue;
    take(c, &w, max_events, now);
    timeout_ms = 0;
  }
  uint32_t ready[READY];
  int32_t n = penstock_net_wait(ready, READY, timeout_ms);
  for (int32_t i = 0; i < n; i++) {
    if ((int32_t)ready[i] == listener) accept_all();
    for (struct connection *c = connections; c < connections + CONNECTIONS; c++)
      if (c->fd == (int32_t)ready[i]) read_from(c, &w, max_events, now);
  }
  if (w.count == 0) return n < 0 && n != PENSTOCK_EAGAIN && n != PENSTOCK_ETIMEDOUT ? n : PENSTOCK_OK;
  int64_t seq = penstock_emit(&w);
  return seq < 0 ? (int32_t)seq : PENSTOCK_OK;
}
