// SPDX-License-Identifier: Apache-2.0
//
// A sink that sends events as lines over one TCP connection, which it opens when it has something to send. A batch that could not be sent
// whole is sent again from its beginning, over another connection: the other end can tell that the last line of this one was cut.
#include "../../sdk/c/penstock.h"

// Lines are gathered in a buffer that stays in the processor's cache, then handed to the host at once.
enum { BUFFER = 128 << 10, TIMEOUT_MS = 30000, HEARD = 64 << 10 };

static int32_t connection; // 0: none
static char buffer[BUFFER];
static uint32_t filled;

static int32_t lost(int32_t code, const char *why) {
  if (connection > 0) penstock_net_close(connection);
  connection = 0;
  return penstock_fail(code, NULL, why);
}

// gone reads away what the other end says, and notices its end: what is written to one that has gone is lost without an error.
static bool gone(void) {
  char heard[1024];
  for (uint32_t i = 0; i < HEARD / sizeof heard; i++) {
    int32_t n = penstock_net_read(connection, heard, sizeof heard, 0);
    if (n == PENSTOCK_EAGAIN || n == PENSTOCK_EINTR) return false;
    if (n <= 0) return true;
  }
  return false;
}

static int32_t connected(void) {
  if (connection > 0 && gone()) penstock_net_close(connection), connection = 0;
  if (connection > 0) return PENSTOCK_OK;
  connection = penstock_net_open("address", 7, TIMEOUT_MS);
  if (connection > 0) return PENSTOCK_OK;
  return lost(connection, "cannot connect\nis anybody listening at address?");
}

static int32_t send(const char *p, uint32_t n) {
  while (n > 0) {
    int32_t sent = penstock_net_write(connection, p, n, TIMEOUT_MS, 0);
    if (sent < 0) return lost(sent, "the connection broke, or the other end does not read");
    p += sent, n -= (uint32_t)sent;
  }
  return PENSTOCK_OK;
}

static int32_t flush(void) {
  uint32_t n = filled;
  filled = 0;
  return send(buffer, n);
}

// add puts a line into the buffer. A longer one than fits goes out as it lies in the batch.
static int32_t add(penstock_str line) {
  int32_t code = filled + line.len + 1 > BUFFER ? flush() : PENSTOCK_OK;
  if (code == PENSTOCK_OK && line.len >= BUFFER) {
    code = send(line.ptr, line.len);
    line.len = 0;
  }
  if (code != PENSTOCK_OK) return code;
  memcpy(buffer + filled, line.ptr, line.len);
  filled += line.len;
  buffer[filled++] = '\n';
  return PENSTOCK_OK;
}

int32_t penstock_deliver(uint64_t first, uint64_t next, uint32_t len) {
  (void)first, (void)next;
  penstock_reader in;
  penstock_event e;
  int32_t code = connected(), more = penstock_read(&in, penstock_arena, len);
  filled = 0;
  while (code == PENSTOCK_OK && more >= 0 && (more = penstock_next(&in, &e)) == 1) code = add(e.body);
  if (more < 0) return penstock_fail(more, NULL, "the batch is broken");
  return code == PENSTOCK_OK ? flush() : code;
}
