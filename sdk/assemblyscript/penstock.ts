// SPDX-License-Identifier: Apache-2.0
//
// Write a Penstock plugin in AssemblyScript. The plugin's file says
//
//     import { Batch, Builder, Request, fail } from "./penstock";
//     export { penstock_abi_1, penstock_alloc } from "./penstock";
//
// and exports what there is of these (README.md has whole plugins). `len` bytes of a batch or an open request lie in the arena.
//
//     penstock_open(len: i32): i32                                           all
//     penstock_poll(maxEvents: i32, maxBytes: i32, timeoutMs: i32): i32      source
//     penstock_ack(seq: u64, status: i32): void                              source, optional: 0 = everything up to seq is durable
//     penstock_deliver(first: u64, next: u64, len: i32): i32                 sink: 0 when the destination has it all on its own disk
//     penstock_prune(low: u64): i32                                          sink, optional: stored ranges below low may go
//     penstock_process(len: i32): i32                                        processor: emits exactly once
//     penstock_idle(): i32, penstock_close(): i32                            optional
//
// Built with --runtime minimal: garbage is collected between calls. Pointers (usize) into the arena are valid until the call returns.

/** Codes: 0 or more is "done"; an unknown one counts as AGAIN. */
export namespace Code {
  export const OK = 0;
  export const AGAIN = -1; // tried again later
  export const INTERRUPTED = -2; // the host wants the plugin back: return
  export const EOF = -3; // a source has finished for good; the end of a stream
  export const TIMEOUT = -4; // tried again
  export const IO = -5; // tried again: the outside answered wrongly
  export const INVALID = -6; // the component is held
  export const ACCESS = -7; // held: not granted
  export const TOO_BIG = -8; // rejected: over a limit
  export const NOT_FOUND = -9; // tried again: it is not there, or not yet
  export const REJECTED = -10; // rejected: it will never be taken
  export const NOT_SUPPORTED = -11; // held: the host or the plugin lacks this
}

const MAGIC: u32 = 0x31425350, HEADER: usize = 32, RECORD: usize = 24, PAIR: usize = 6, MARGIN: usize = 64;

let arena: usize = 0, room: usize = 0, calls: u32 = 0;

export function penstock_abi_1(): void {}

export function penstock_alloc(n: i32): usize {
  if (<u32>n > 17 << 20) return 0; // the most that a host hands over: the largest batch, or an open request
  if (<usize>n > room || arena == 0) {
    if (arena != 0) heap.free(arena);
    room = max(<usize>n, 64 << 10);
    arena = heap.alloc(room);
  }
  if ((++calls & 63) == 0) __collect(); // no plugin's function is on the stack, as the minimal runtime wants it
  return arena;
}

/** Says why, and hands the code back to be returned. argument: of the config, or "". The second line of why is what the user can do. */
export function fail(code: i32, argument: string, why: string, delayMs: i32 = 0): i32 {
  const a = String.UTF8.encode(argument), w = String.UTF8.encode(why);
  raw.fail(code, delayMs, changetype<usize>(a), a.byteLength, changetype<usize>(w), w.byteLength);
  return code;
}
/** level: -4 debug, 0 info, 4 warning, 8 error. */
export function log(level: i32, text: string): void {
  const t = String.UTF8.encode(text);
  raw.log(level, changetype<usize>(t), t.byteLength);
}
/** Adds to a counter (kind 0), or sets a gauge (kind 1). */
export function metric(kind: i32, name: string, value: f64): void {
  const t = String.UTF8.encode(name);
  raw.metric(kind, changetype<usize>(t), t.byteLength, value);
}
/** Source: an entry of the cursor, which goes with the batch that is emitted next. "" deletes. */
export function setCursor(key: string, value: string): i32 {
  const k = String.UTF8.encode(key), v = String.UTF8.encode(value);
  return raw.cursor(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength);
}
/** Sink: the destination will never take the event at this place in the batch. */
export function reject(index: i32, why: string): i32 {
  const w = String.UTF8.encode(why);
  return raw.result(index, Code.REJECTED, changetype<usize>(w), w.byteLength);
}

/** Names and values, in order: for (let p = batch.attributes(); p.next();) p.name, p.value … */
export class Pairs {
  private key: usize = 0;
  private keyLen: usize = 0;
  private val: usize = 0;
  private valLen: usize = 0;
  constructor(private at: usize, private left: u32) {}
  /** Begins with other pairs: an object that is used again needs no garbage to be collected. */
  reset(at: usize, left: u32): this {
    this.at = at;
    this.left = left;
    return this;
  }
  next(): bool {
    if (this.left == 0) return false;
    this.left--;
    this.keyLen = load<u16>(this.at);
    this.valLen = load<u32>(this.at, 2);
    this.key = this.at + PAIR;
    this.val = this.key + this.keyLen;
    this.at = this.val + this.valLen;
    return true;
  }
  get name(): string { return String.UTF8.decodeUnsafe(this.key, this.keyLen); }
  /** The value as text; value and valueLength are pointers to what may be any bytes. */
  get text(): string { return String.UTF8.decodeUnsafe(this.val, this.valLen); }
  get value(): usize { return this.val; }
  get valueLength(): usize { return this.valLen; }
  get nameAt(): usize { return this.key; }
  get nameLength(): usize { return this.keyLen; }
  /** The text of the first of that name from here on, or null. */
  get(name: string): string | null {
    while (this.next()) if (this.name == name) return this.text;
    return null;
  }
}

/** Checks pairs, and answers where they end, or 0. Lengths are added in 64 bits. */
function walk(at: usize, end: usize, pairs: u32, utf8: bool): usize {
  for (; pairs > 0; pairs--) {
    if (end - at < PAIR) return 0;
    const name: usize = load<u16>(at), n = <u64>PAIR + name + load<u32>(at, 2);
    if (n > <u64>(end - at) || (utf8 && !isUTF8(at + PAIR, name))) return 0;
    at += <usize>n;
  }
  return at;
}

/** RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
function isUTF8(at: usize, n: usize): bool {
  const end = at + n;
  while (at < end) {
    const c: u32 = load<u8>(at++);
    if (c < 0x80) continue;
    if (c < 0xc2 || c > 0xf4) return false;
    let low: u32 = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high: u32 = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    for (let more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3; more > 0; more--) {
      if (at >= end || <u32>load<u8>(at) < low || <u32>load<u8>(at) > high) return false;
      at++;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

/** What an instance is opened with. */
export class Request {
  /** The whole of it: plugin, kind, config, instance, stream, incarnations. */
  json: Json = new Json("");
  private at: usize = 0;
  private entries: u32 = 0;
  /** Reads the open request in the arena, or answers null when it is cut. */
  static read(len: i32): Request | null {
    if (<u32>len < 8 || load<u32>(arena) > <u32>len - 8) return null;
    const n: usize = load<u32>(arena), r = new Request();
    r.json = new Json(String.UTF8.decodeUnsafe(arena + 4, n));
    r.entries = load<u32>(arena + n, 4);
    r.at = arena + n + 8;
    return walk(r.at, arena + len, r.entries, false) == arena + len ? r : null;
  }
  /** An argument of the config, or null: r.config("multiline.pattern"). */
  config(path: string): Json | null { return this.json.get("config." + path); }
  /** Of a source: where to go on. Keep nothing of it after open. */
  get cursor(): Pairs { return new Pairs(this.at, this.entries); }
}

/** A JSON value as it stands in its document, which is taken to be valid. */
export class Json {
  constructor(public source: string) {}
  /** The value at a path of members, or null. */
  get(path: string): Json | null {
    const names = path.split(".");
    let at = blank(this.source, 0);
    for (let i = 0; i < names.length; i++) {
      if (this.source.charAt(at) != "{") return null;
      let found = false;
      at = blank(this.source, at + 1);
      while (!found && this.source.charAt(at) == '"') {
        let end = skip(this.source, at);
        found = new Json(this.source.substring(at, end)).text == names[i];
        at = blank(this.source, end);
        if (!found) at = blank(this.source, skip(this.source, at));
      }
      if (!found) return null;
    }
    return new Json(this.source.substring(at, skip(this.source, at)));
  }
  get isText(): bool { return this.source.startsWith('"'); }
  /** The text of a string, with its escapes resolved; of anything else, as it stands. */
  get text(): string {
    if (!this.isText) return this.source;
    let out = "", from = 1, end = this.source.length - 1;
    for (let i = 1; i < end; i++) {
      if (this.source.charAt(i) != "\\") continue;
      out += this.source.substring(from, i);
      const c = this.source.charAt(++i), known = "bfnrt".indexOf(c);
      if (c == "u") {
        out += String.fromCharCode(<i32>parseInt(this.source.substring(i + 1, i + 5), 16));
        i += 4;
      } else out += known < 0 ? c : "\b\f\n\r\t".charAt(known);
      from = i + 1;
    }
    return out + this.source.substring(from, end);
  }
  /** Whether it is a whole number, which int then is. Durations come in nanoseconds, sizes in bytes. */
  get isInt(): bool { return I64.parseInt(this.source).toString() == this.source; }
  get int(): i64 { return I64.parseInt(this.source); }
}

/** Where the JSON value at this place ends. */
function skip(s: string, at: i32): i32 {
  let depth = 0, quoted = false;
  for (; at < s.length; at++) {
    const c = s.charCodeAt(at);
    if (quoted) {
      if (c == 0x5c) at++;
      else if (c == 0x22) quoted = false;
      if (!quoted && depth == 0) return at + 1;
    } else if (c == 0x22) quoted = true;
    else if (c == 0x7b || c == 0x5b) depth++;
    else if (depth == 0 && (c <= 0x20 || c == 0x2c || c == 0x3a || c == 0x7d || c == 0x5d)) return at;
    else if ((c == 0x7d || c == 0x5d) && --depth == 0) return at + 1;
  }
  return s.length;
}
function blank(s: string, at: i32): i32 {
  while (at < s.length && (s.charCodeAt(at) <= 0x20 || s.charCodeAt(at) == 0x2c || s.charCodeAt(at) == 0x3a)) at++;
  return at;
}

/** Walks over a batch: its fields are those of the event at which it stands. All bounds are checked on the way. */
export class Batch {
  base: u64 = 0; // base + delta is the offset of an event in its channel
  record: usize = 0; // a pointer
  /** What next found at the end: 0, or Code.INVALID when the batch is broken. */
  code: i32 = 0;
  private left: u32 = 0;
  private after: usize = 0; // the record
  private end: usize = 0;
  private all: Pairs = new Pairs(0, 0);
  private one: Pairs = new Pairs(0, 0);

  /** Begins with the batch in the arena, or with one elsewhere. next answers false at once if it is not one. */
  read(len: i32, at: usize = arena): this {
    this.left = this.code = 0;
    this.record = at; // so that the delta before the first is 0
    this.after = at + HEADER;
    this.end = at + len;
    if (<usize>len < HEADER || load<u32>(at) != MAGIC || load<u16>(at, 4) != 1 || load<u16>(at, 6) > 1 || load<u32>(at, 12) != <u32>len || load<u32>(at, 20) != 0) {
      this.broken();
      return this;
    }
    this.base = load<u64>(at, 24);
    this.left = load<u32>(at, 8);
    return this;
  }
  /** Goes on to the next event; false at the end, where code says whether it was a whole batch. */
  @inline
  next(): bool {
    const p = this.after, end = this.end; // fields lie in memory: each is read once, and what a plugin may not ask for is not kept
    if (this.left == 0) {
      if (p != end) this.code = Code.INVALID;
      return false;
    }
    const room = end - p;
    if (room < RECORD) return this.broken();
    const head = load<u64>(p), tail = load<u64>(p, 16), size = <usize><u32>head, pairs = <u32>(head >> 32), delta = <u32>(tail >> 32); // two fields at a time
    if (size < RECORD || size > room || pairs > 1024) return this.broken(); // pairs has the type in it, which is 0
    const body = pairs == 0 ? p + RECORD : walk(p + RECORD, p + size, pairs, true), n = p + size - body;
    if (body == 0 || n != <u32>tail || delta < this.delta || this.base + delta < this.base) return this.broken();
    this.record = p;
    this.after = p + size;
    this.left--;
    return true;
  }
  /** Nanoseconds since 1970. */
  get time(): i64 { return load<i64>(this.record, 8); }
  get delta(): u32 { return load<u32>(this.record, 20); }
  get size(): usize { return load<u32>(this.record); }
  /** A pointer. */
  get body(): usize { return this.after - this.bodyLength; }
  get bodyLength(): usize { return load<u32>(this.record, 16); }
  private get pairs(): u32 { return load<u16>(this.record, 4); }
  private broken(): bool {
    this.left = 0;
    this.end = 0; // so that it is asked in vain again
    this.code = Code.INVALID;
    return false;
  }
  /** The body as text; body and bodyLength are a pointer to what may be any bytes. */
  get text(): string { return String.UTF8.decodeUnsafe(this.body, this.bodyLength); }
  /** The attributes of this event: one object, used again for each. */
  attributes(): Pairs { return this.all.reset(this.record + RECORD, this.pairs); }
  attribute(name: string): string | null { return this.one.reset(this.record + RECORD, this.pairs).get(name); }
}

/**
 * Builds batches in memory of its own. An event is begin, any number of attributes, and end, whose code alone need be looked at. After a code
 * other than 0 the batch is as it was: Code.AGAIN: it is full, emit it and add again; TOO_BIG: it will never fit; INVALID: its attributes are wrong.
 */
export class Builder {
  count: u32 = 0;
  private buf: usize;
  private len: usize = HEADER;
  private record: usize = 0;
  private sets: u32 = 0;
  private code: i32 = 0;

  private limit: usize;

  /** room: of the largest batch, in bytes. It is kept: make one builder, and reset it. */
  constructor(private room: usize = 4 << 20) {
    this.buf = heap.alloc(room);
    this.limit = room;
  }

  private fits(n: u64): bool {
    if (this.code != 0) return false;
    const record = <u64>(this.len - this.record) + n;
    if (record + MARGIN > this.limit) this.code = Code.TOO_BIG;
    else if (this.record + record > this.limit) this.code = Code.AGAIN;
    else return true;
    return false;
  }
  /** delta: in a processor that of the event it was made from; in a source builder.count. */
  begin(time: i64, delta: u32): void {
    this.record = this.len;
    this.code = this.sets = 0;
    if (!this.fits(RECORD)) return;
    store<i64>(this.buf + this.len, time, 8);
    store<u32>(this.buf + this.len, delta, 20);
    this.len += RECORD;
  }
  attribute(name: string, value: string): void {
    const n = String.UTF8.encode(name), v = String.UTF8.encode(value);
    this.attributeBytes(changetype<usize>(n), n.byteLength, changetype<usize>(v), v.byteLength);
  }
  attributeBytes(name: usize, nlen: usize, val: usize, vlen: usize): void {
    const reserved = nlen >= 9 && load<u64>(name) == 0x6b636f74736e6570 && load<u8>(name, 8) == 0x2e; // "penstock."
    if (this.code == 0 && (nlen > 0xffff || reserved || this.sets == 1000 || !isUTF8(name, nlen))) this.code = Code.INVALID;
    if (!this.fits(<u64>PAIR + nlen + vlen)) return;
    const p = this.buf + this.len;
    store<u16>(p, <u16>nlen);
    store<u32>(p, <u32>vlen, 2);
    memory.copy(p + PAIR, name, nlen);
    memory.copy(p + PAIR + nlen, val, vlen);
    this.len += PAIR + nlen + vlen;
    this.sets++;
  }
  end(body: usize, n: usize): i32 {
    if (!this.fits(n)) {
      this.len = this.record;
      return this.code;
    }
    memory.copy(this.buf + this.len, body, n);
    this.len += n;
    this.count++;
    const p = this.buf + this.record;
    store<u32>(p, <u32>(this.len - this.record));
    store<u32>(p, this.sets, 4); // and a type of 0
    store<u32>(p, <u32>n, 16);
    return 0;
  }
  endText(body: string): i32 {
    const b = String.UTF8.encode(body);
    return this.end(changetype<usize>(b), b.byteLength);
  }
  /** Adds the event at which a batch stands as it is, with its delta. */
  keep(e: Batch): i32 {
    const at = this.len, size = e.size; // of a record that was checked, so that the sum is no more than 32 bits
    if (size + MARGIN > this.limit) return Code.TOO_BIG;
    if (at + size > this.limit) return Code.AGAIN;
    memory.copy(this.buf + at, e.record, size);
    this.len = at + size;
    this.count++;
    return 0;
  }
  /** Forgets what was added. limit: what the next batch may have in bytes; in a source at most maxBytes. */
  reset(limit: usize = this.room): void {
    this.limit = min(limit, this.room);
    this.len = HEADER;
    this.count = 0;
  }
  /** Writes the header: what lies here is then a batch of length bytes, for http_send or http_reply. */
  finish(): usize {
    memory.fill(this.buf, 0, HEADER);
    store<u32>(this.buf, MAGIC);
    store<u16>(this.buf, 1, 4);
    store<u32>(this.buf, this.count, 8);
    store<u32>(this.buf, <u32>this.len, 12);
    return this.buf;
  }
  get length(): usize { return this.len; }
  /** Sends the batch, and begins another if that was taken. Answers its number, from 1, or a code. */
  emit(): i64 {
    const seq = raw.emit(this.finish(), this.len);
    if (seq > 0) this.reset(this.limit);
    return seq;
  }
}

/** The imports as they are (spec/abi.md §2). Timeouts are milliseconds: 0 = do not wait, less = until the host wants the plugin back. */
export namespace raw {
  @external("penstock", "emit") export declare function emit(ptr: usize, len: usize): i64;
  @external("penstock", "cursor") export declare function cursor(key: usize, klen: usize, val: usize, vlen: usize): i32;
  @external("penstock", "result") export declare function result(index: i32, code: i32, ptr: usize, len: usize): i32;
  @external("penstock", "fail") export declare function fail(code: i32, delayMs: i32, path: usize, plen: usize, msg: usize, mlen: usize): i32;
  @external("penstock", "position") export declare function position(incarnation: u64, first: u64, next: u64): i32;
  @external("penstock", "log") export declare function log(level: i32, ptr: usize, len: usize): i32;
  @external("penstock", "metric") export declare function metric(kind: i32, name: usize, len: usize, value: f64): i32;
  @external("penstock", "now") export declare function now(): i64;
  @external("penstock", "sleep") export declare function sleep(ms: i32): i32;
  @external("penstock", "secret") export declare function secret(name: usize, nlen: usize, ptr: usize, cap: usize): i32;
  @external("penstock", "net_open") export declare function net_open(name: usize, nlen: usize, timeout: i32): i32;
  @external("penstock", "net_accept") export declare function net_accept(fd: i32, timeout: i32): i32;
  @external("penstock", "net_read") export declare function net_read(fd: i32, ptr: usize, cap: usize, timeout: i32): i32;
  @external("penstock", "net_write") export declare function net_write(fd: i32, ptr: usize, len: usize, timeout: i32, after: u64): i32;
  @external("penstock", "net_recvfrom") export declare function net_recvfrom(fd: i32, ptr: usize, cap: usize, addr: usize, acap: usize, timeout: i32): i64;
  @external("penstock", "net_shutdown") export declare function net_shutdown(fd: i32): i32;
  @external("penstock", "net_close") export declare function net_close(fd: i32): i32;
  @external("penstock", "net_pass") export declare function net_pass(fd: i32, rest: usize, len: usize): i32;
  @external("penstock", "net_info") export declare function net_info(fd: i32, ptr: usize, cap: usize): i32;
  @external("penstock", "net_wait") export declare function net_wait(out: usize, cap: usize, timeout: i32): i32;
  @external("penstock", "http_send") export declare function http_send(name: usize, nlen: usize, batch: usize, len: usize, timeout: i32): i32;
  @external("penstock", "http_status") export declare function http_status(id: i32, timeout: i32): i32;
  @external("penstock", "http_head") export declare function http_head(id: i32, ptr: usize, cap: usize): i32;
  @external("penstock", "http_read") export declare function http_read(id: i32, ptr: usize, cap: usize, timeout: i32): i32;
  @external("penstock", "http_close") export declare function http_close(id: i32): i32;
  @external("penstock", "http_next") export declare function http_next(ptr: usize, cap: usize, timeout: i32): i32;
  @external("penstock", "http_reply") export declare function http_reply(id: i32, status: i32, batch: usize, len: usize, after: u64): i32;
}
