// SPDX-License-Identifier: Apache-2.0

//! Write a Penstock plugin in Zig. The plugin's file says
//!
//!     const penstock = @import("penstock.zig");
//!     comptime { penstock.plugin(@This()); }
//!
//! and has what there is of these as public functions (README.md has whole plugins):
//!
//!     open(Request) !void                       all
//!     poll(*Poll) !void                         source: append events, set the cursor; both go out when it returns
//!     ack(seq: u64, status: i32) void           source, optional: 0 = everything up to seq is durable
//!     deliver(Batch, Delivery) !void            sink: return when the destination has it all on its own disk
//!     prune(low: u64) !void                     sink, optional: stored ranges below low may go
//!     process(Batch, *Builder) !void            processor: keep or add what becomes of the batch
//!     idle() !void, close() !void               optional
//!
//! Variables of the file are the instance's own. What is handed out lies in the arena, and is valid until the call from the host returns.
const std = @import("std");

/// Errors that the host knows; any other counts as Again. Say more about it with `fail`, just before.
pub const Error = error{
    Again, // tried again later
    Interrupted, // the host wants the plugin back: return
    EndOfStream, // a source has finished for good; the end of a stream
    TimedOut, // tried again
    InputOutput, // tried again: the outside answered wrongly
    InvalidArgument, // the component is held
    AccessDenied, // held: not granted
    TooBig, // rejected: over a limit
    NotFound, // tried again: it is not there, or not yet
    Rejected, // rejected: it will never be taken
    NotSupported, // held: the host or the plugin lacks this
};
const codes = [_]Error{ error.Again, error.Interrupted, error.EndOfStream, error.TimedOut, error.InputOutput, error.InvalidArgument, error.AccessDenied, error.TooBig, error.NotFound, error.Rejected, error.NotSupported };

/// Makes an error of a negative code.
pub fn check(code: anytype) Error!@TypeOf(code) {
    if (code >= 0) return code;
    return if (code >= -@as(i64, codes.len)) codes[@intCast(-1 - code)] else error.Again;
}

fn codeOf(err: anyerror) i32 {
    for (codes, 1..) |known, n| if (err == known) return -@as(i32, @intCast(n));
    return -1;
}

var said = false; // the plugin has called fail in this call

/// Says why, and hands the error back to be returned: `return penstock.fail(error.InvalidArgument, "count", "what\nwhat to do")`. argument: of the
/// config, or "".
pub fn fail(err: Error, argument: []const u8, why: []const u8) Error {
    said = true;
    _ = raw.fail(codeOf(err), 0, argument.ptr, argument.len, why.ptr, why.len);
    return err;
}

fn answer(result: anyerror!void) i32 {
    defer said = false;
    result catch |err| {
        const quiet = err == error.Interrupted or err == error.EndOfStream;
        if (!said and !quiet) _ = raw.fail(codeOf(err), 0, "", 0, @errorName(err).ptr, @errorName(err).len);
        return codeOf(err);
    };
    return 0;
}

const most = 17 << 20; // that the host hands over: the largest batch, or an open request. What is never touched takes no memory.
var arena: [most]u8 align(16) = undefined;
var memory: [16 << 20]u8 align(16) = undefined; // of the batch that is built
var pending: ?anyerror = null; // what a poll answered beside events: said at the next one

fn int(comptime T: type, b: []const u8, at: usize) T {
    return std.mem.readInt(T, b[at..][0..@sizeOf(T)], .little);
}

/// Names and values, in order: an event's attributes, a cursor's entries.
pub const Pairs = struct {
    rest: []const u8,
    left: u32,

    pub const Pair = struct { name: []const u8, value: []const u8 };

    pub fn next(p: *Pairs) ?Pair {
        if (p.left == 0) return null;
        const name: usize = int(u16, p.rest, 0);
        const end = 6 + name + int(u32, p.rest, 2);
        defer p.rest = p.rest[end..];
        p.left -= 1;
        return .{ .name = p.rest[6..][0..name], .value = p.rest[6 + name .. end] };
    }
    /// The value of the first pair of that name.
    pub fn get(p: Pairs, name: []const u8) ?[]const u8 {
        var pairs = p;
        while (pairs.next()) |pair| if (std.mem.eql(u8, pair.name, name)) return pair.value;
        return null;
    }
    /// Checks that they lie in the bytes, and answers how many of these they take.
    fn size(p: Pairs, utf8: bool) ?usize {
        var at: u64 = 0;
        for (0..p.left) |_| {
            if (at + 6 > p.rest.len) return null;
            const key: u64 = at + 6;
            const value = key + int(u16, p.rest, @intCast(at));
            at = value + int(u32, p.rest, @intCast(at + 2));
            if (at > p.rest.len) return null;
            if (utf8 and !std.unicode.utf8ValidateSlice(p.rest[@intCast(key)..@intCast(value)])) return null;
        }
        return @intCast(at);
    }
};

/// What an instance is opened with.
pub const Request = struct {
    /// The whole of it: plugin, kind, config, instance, stream, incarnations.
    json: []const u8,
    /// Of a source: where to go on.
    cursor: Pairs,

    fn read(b: []const u8) ?Request {
        if (b.len < 8 or int(u32, b, 0) > b.len - 8) return null;
        const n = int(u32, b, 0);
        const cursor = Pairs{ .rest = b[n + 8 ..], .left = int(u32, b, n + 4) };
        return if (cursor.size(false) == cursor.rest.len) .{ .json = b[4..][0..n], .cursor = cursor } else null;
    }
    /// Parses members of the request into a struct, as std.json does, with memory that stays: r.parse(struct { kind: Kind, config: Config })
    pub fn parse(r: Request, comptime T: type) Error!T {
        return std.json.parseFromSliceLeaky(T, std.heap.wasm_allocator, r.json, .{ .ignore_unknown_fields = true, .allocate = .alloc_always }) catch |err|
            fail(error.InvalidArgument, "", @errorName(err));
    }
    /// The config, as a struct whose fields are its arguments. Durations come in nanoseconds, sizes in bytes.
    pub fn config(r: Request, comptime T: type) Error!T {
        return (try r.parse(struct { config: T })).config;
    }
};

/// A batch whose every bound has been checked: `while (batch.next()) |event| …`
pub const Batch = struct {
    base: u64, // base + delta is the offset of an event in its channel
    left: u32,
    rest: []const u8,

    /// Takes bytes that are a whole batch: of the host, of raw.http_next or raw.http_head.
    pub fn parse(b: []const u8) Error!Batch {
        const invalid = error.InvalidArgument;
        if (b.len < 32 or !std.mem.eql(u8, b[0..6], "PSB1\x01\x00") or int(u16, b, 6) > 1 or int(u32, b, 12) != b.len or int(u32, b, 20) != 0) return invalid;
        const batch = Batch{ .base = int(u64, b, 24), .left = int(u32, b, 8), .rest = b[32..] };
        var rest = batch.rest;
        var last: u32 = 0;
        for (0..batch.left) |_| {
            if (rest.len < 24) return invalid;
            const head = int(u64, rest, 0); // two of the fixed part's fields at a time
            const tail = int(u64, rest, 16);
            const size: u32 = @truncate(head);
            const pairs: u32 = @truncate(head >> 32); // and the type, which is 0
            const delta: u32 = @truncate(tail >> 32);
            if (size < 24 or size > rest.len or pairs > 1024 or delta < last) return invalid;
            const fields = Pairs{ .rest = rest[24..size], .left = pairs };
            const before = if (pairs == 0) 0 else fields.size(true) orelse return invalid;
            if (fields.rest.len - before != @as(u32, @truncate(tail))) return invalid;
            last = delta;
            rest = rest[size..];
        }
        return if (rest.len == 0 and batch.base <= @as(u64, std.math.maxInt(u64)) - last) batch else invalid;
    }
    pub fn next(b: *Batch) ?Event {
        if (b.left == 0) return null;
        const record = b.rest[0..int(u32, b.rest, 0)];
        b.rest = b.rest[record.len..];
        b.left -= 1;
        return .{ .time = int(i64, record, 8), .delta = int(u32, record, 20), .body = record[record.len - int(u32, record, 16) ..], .record = record };
    }
};

pub const Event = struct {
    time: i64, // nanoseconds since 1970
    delta: u32,
    body: []const u8,
    record: []const u8,

    pub fn attributes(e: Event) Pairs {
        return .{ .rest = e.record[24..], .left = int(u16, e.record, 4) };
    }
};

/// Builds a batch in memory of its own. After an error the batch is as it was.
pub const Builder = struct {
    buf: []u8, // also the limit
    len: usize = 32,
    count: u32 = 0,

    /// Full: return, or emit, and add the event again. TooBig: it will never fit. InvalidArgument: its attributes are wrong.
    pub const Refused = error{ Full, TooBig, InvalidArgument };

    /// Adds an event. delta: in a processor that of the event it was made from.
    pub fn add(w: *Builder, time: i64, delta: u32, attributes: []const Pairs.Pair, body: []const u8) Refused!void {
        var size: u64 = 24 + body.len;
        if (attributes.len > 1000) return error.InvalidArgument;
        for (attributes) |a| {
            if (a.name.len > 0xffff or std.mem.startsWith(u8, a.name, "penstock.") or !std.unicode.utf8ValidateSlice(a.name)) return error.InvalidArgument;
            size += 6 + a.name.len + a.value.len;
        }
        const r = try w.room(size);
        std.mem.writeInt(u32, r[0..4], @intCast(size), .little);
        std.mem.writeInt(u32, r[4..8], @intCast(attributes.len), .little); // and a type of 0
        std.mem.writeInt(i64, r[8..16], time, .little);
        std.mem.writeInt(u32, r[16..20], @intCast(body.len), .little);
        std.mem.writeInt(u32, r[20..24], delta, .little);
        var at: usize = 24;
        for (attributes) |a| {
            std.mem.writeInt(u16, r[at..][0..2], @intCast(a.name.len), .little);
            std.mem.writeInt(u32, r[at + 2 ..][0..4], @intCast(a.value.len), .little);
            @memcpy(r[at + 6 ..][0..a.name.len], a.name);
            @memcpy(r[at + 6 + a.name.len ..][0..a.value.len], a.value);
            at += 6 + a.name.len + a.value.len;
        }
        @memcpy(r[at..], body);
    }
    /// Adds an event as it is, with its delta.
    pub fn keep(w: *Builder, e: Event) Refused!void {
        @memcpy(try w.room(e.record.len), e.record);
    }
    fn room(w: *Builder, record: u64) Refused![]u8 {
        if (record + 64 > w.buf.len) return error.TooBig;
        if (w.len + record > w.buf.len) return error.Full;
        defer w.len += @intCast(record);
        w.count += 1;
        return w.buf[w.len..][0..@intCast(record)];
    }
    /// The batch, for raw.http_send and raw.http_reply.
    pub fn bytes(w: *Builder) []const u8 {
        const header = [8]u32{ 0x31425350, 1, w.count, @intCast(w.len), 0, 0, 0, 0 };
        @memcpy(w.buf[0..32], std.mem.asBytes(&header));
        return w.buf[0..w.len];
    }
    fn emit(w: *Builder) Error!u64 {
        const b = w.bytes();
        const seq = try check(raw.emit(b.ptr, b.len));
        w.* = .{ .buf = w.buf };
        return @intCast(seq);
    }
};

/// What a poll brings. It belongs to the call it was handed to.
pub const Poll = struct {
    max_events: u32,
    timeout_ms: i32, // how long to wait for the first event
    batch: Builder,
    moved: bool = false,

    /// Adds an event. error.Full: return, and add it in the next poll.
    pub fn add(p: *Poll, time: i64, attributes: []const Pairs.Pair, body: []const u8) Builder.Refused!void {
        if (p.batch.count >= p.max_events) return error.Full;
        return p.batch.add(time, p.batch.count, attributes, body);
    }
    /// Says how far the batch brings the source. Entries that are not set stay; an empty value deletes one.
    pub fn setCursor(p: *Poll, key: []const u8, value: []const u8) Error!void {
        p.moved = true;
        _ = try check(raw.cursor(key.ptr, key.len, value.ptr, value.len));
    }
    /// Sends the batch, and answers its number, or 0 when there was nothing to send. What is left goes out when poll returns.
    pub fn flush(p: *Poll) Error!u64 {
        if (p.batch.count == 0 and !p.moved) return 0;
        p.moved = false;
        return p.batch.emit();
    }
};

/// How a sink answers about single events, and the range of offsets that the batch covers.
pub const Delivery = struct {
    first: u64,
    next: u64,

    /// The destination will never take the event at this place in the batch.
    pub fn reject(_: Delivery, index: u32, why: []const u8) void {
        _ = raw.result(index, codeOf(error.Rejected), why.ptr, why.len);
    }
};

pub const Level = enum(i32) { debug = -4, info = 0, warn = 4, err = 8 };

pub fn log(level: Level, text: []const u8) void {
    _ = raw.log(@intFromEnum(level), text.ptr, text.len);
}
/// Adds to a counter.
pub fn count(name: []const u8, n: f64) void {
    _ = raw.metric(0, name.ptr, name.len, n);
}
/// Sets a gauge.
pub fn gauge(name: []const u8, value: f64) void {
    _ = raw.metric(1, name.ptr, name.len, value);
}

/// The imports as they are (spec/abi.md §2): give their answers to `check`. now: nanoseconds since 1970. Timeouts are milliseconds: 0 = do not wait,
/// less = until the host wants the plugin back.
pub const raw = struct {
    pub extern "penstock" fn emit(ptr: [*]const u8, len: usize) i64;
    pub extern "penstock" fn cursor(key: [*]const u8, klen: usize, val: [*]const u8, vlen: usize) i32;
    pub extern "penstock" fn result(index: u32, code: i32, ptr: [*]const u8, len: usize) i32;
    pub extern "penstock" fn fail(code: i32, delay_ms: i32, path: [*]const u8, plen: usize, msg: [*]const u8, mlen: usize) i32;
    pub extern "penstock" fn position(incarnation: u64, first: u64, next: u64) i32;
    pub extern "penstock" fn log(level: i32, ptr: [*]const u8, len: usize) i32;
    pub extern "penstock" fn metric(kind: i32, name: [*]const u8, len: usize, value: f64) i32;
    pub extern "penstock" fn now() i64;
    pub extern "penstock" fn sleep(ms: i32) i32;
    pub extern "penstock" fn secret(name: [*]const u8, nlen: usize, ptr: [*]u8, cap: usize) i32;
    pub extern "penstock" fn net_open(name: [*]const u8, nlen: usize, timeout: i32) i32;
    pub extern "penstock" fn net_accept(fd: i32, timeout: i32) i32;
    pub extern "penstock" fn net_read(fd: i32, ptr: [*]u8, cap: usize, timeout: i32) i32;
    pub extern "penstock" fn net_write(fd: i32, ptr: [*]const u8, len: usize, timeout: i32, after: u64) i32;
    pub extern "penstock" fn net_recvfrom(fd: i32, ptr: [*]u8, cap: usize, addr: [*]u8, acap: usize, timeout: i32) i64;
    pub extern "penstock" fn net_shutdown(fd: i32) i32;
    pub extern "penstock" fn net_close(fd: i32) i32;
    pub extern "penstock" fn net_pass(fd: i32, rest: [*]const u8, len: usize) i32;
    pub extern "penstock" fn net_info(fd: i32, ptr: [*]u8, cap: usize) i32;
    pub extern "penstock" fn net_wait(out: [*]u32, cap: usize, timeout: i32) i32;
    pub extern "penstock" fn http_send(name: [*]const u8, nlen: usize, batch: [*]const u8, len: usize, timeout: i32) i32;
    pub extern "penstock" fn http_status(id: i32, timeout: i32) i32;
    pub extern "penstock" fn http_head(id: i32, ptr: [*]u8, cap: usize) i32;
    pub extern "penstock" fn http_read(id: i32, ptr: [*]u8, cap: usize, timeout: i32) i32;
    pub extern "penstock" fn http_close(id: i32) i32;
    pub extern "penstock" fn http_next(ptr: [*]u8, cap: usize, timeout: i32) i32;
    pub extern "penstock" fn http_reply(id: i32, status: i32, batch: [*]const u8, len: usize, after: u64) i32;
};

/// Exports what the host calls, as far as P has it.
pub fn plugin(comptime P: type) void {
    const guest = struct {
        fn marker() callconv(.c) void {}
        fn alloc(n: u32) callconv(.c) ?[*]u8 {
            return if (n <= most) &arena else null;
        }
        fn open(n: u32) callconv(.c) i32 {
            const r = Request.read(arena[0..n]) orelse return answer(fail(error.InvalidArgument, "", "the open request is cut"));
            return answer(P.open(r));
        }
        fn poll(max_events: u32, max_bytes: u32, timeout_ms: i32) callconv(.c) i32 {
            if (pending) |err| {
                if (err != error.EndOfStream) pending = null;
                return answer(err);
            }
            var p = Poll{ .max_events = max_events, .timeout_ms = timeout_ms, .batch = .{ .buf = memory[0..@min(max_bytes, memory.len)] } };
            const result: anyerror!void = P.poll(&p);
            const seq = p.flush() catch |stuck| return answer(stuck);
            if (seq == 0) return answer(result);
            result catch |err| if (err != error.Interrupted) {
                pending = err;
            };
            return 0;
        }
        fn ack(seq: u64, status: i32) callconv(.c) void {
            P.ack(seq, status);
        }
        fn deliver(first: u64, next: u64, n: u32) callconv(.c) i32 {
            const batch = Batch.parse(arena[0..n]) catch |err| return answer(err);
            return answer(P.deliver(batch, .{ .first = first, .next = next }));
        }
        fn prune(low: u64) callconv(.c) i32 {
            return answer(P.prune(low));
        }
        fn process(n: u32) callconv(.c) i32 {
            const batch = Batch.parse(arena[0..n]) catch |err| return answer(err);
            var out = Builder{ .buf = &memory };
            const result: anyerror!void = P.process(batch, &out);
            result catch |err| return answer(err);
            _ = out.emit() catch |err| return answer(err);
            return 0;
        }
        fn idle() callconv(.c) i32 {
            return answer(P.idle());
        }
        fn close() callconv(.c) i32 {
            return answer(P.close());
        }
    };
    @export(&guest.marker, .{ .name = "penstock_abi_1" });
    @export(&guest.alloc, .{ .name = "penstock_alloc" });
    for (.{ "open", "poll", "ack", "deliver", "prune", "process", "idle", "close" }) |name| {
        if (@hasDecl(P, name)) @export(&@field(guest, name), .{ .name = "penstock_" ++ name });
    }
}
