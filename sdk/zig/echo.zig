// SPDX-License-Identifier: Apache-2.0

//! The plugin by which the SDK is tested, and an example of one module with all three kinds: a source that counts, a processor that hands on
//! what it is given, a sink that looks at everything and keeps nothing.
const std = @import("std");
const penstock = @import("penstock.zig");

comptime {
    penstock.plugin(@This());
}

const Kind = enum { source, processor, sink };
const Mode = enum { keep, rebuild, half, panic };

var kind: Kind = undefined;
var count: u64 = 0;
var next: u64 = 0;
var mode: Mode = .keep;

pub fn open(r: penstock.Request) !void {
    kind = (try r.parse(struct { kind: Kind })).kind;
    const config = try r.config(struct { count: u64 = 0, mode: Mode = .keep });
    count = config.count;
    mode = config.mode;
    if (r.cursor.get("next")) |text| next = try std.fmt.parseInt(u64, text, 10);
}

pub fn poll(p: *penstock.Poll) !void {
    if (kind != .source) return error.NotSupported;
    if (next >= count) return error.EndOfStream;
    const now = penstock.raw.now();
    var buf: [32]u8 = undefined;
    while (next < count) : (next += 1) {
        const body = try std.fmt.bufPrint(&buf, "event {d}", .{next});
        p.add(now, &.{.{ .name = "kind", .value = "echo" }}, body) catch |err| switch (err) {
            error.Full => break,
            else => return err,
        };
    }
    try p.setCursor("next", try std.fmt.bufPrint(&buf, "{d}", .{next}));
}

pub fn deliver(given: penstock.Batch, d: penstock.Delivery) !void {
    if (kind != .sink) return error.NotSupported;
    var batch = given;
    var bytes: usize = 0;
    while (batch.next()) |e| {
        bytes += e.body.len;
        const at = batch.base + e.delta;
        if (at < d.first or at >= d.next) return penstock.fail(error.InputOutput, "", "an event outside of the range");
    }
    penstock.count("bytes", @floatFromInt(bytes));
}

pub fn process(given: penstock.Batch, out: *penstock.Builder) !void {
    if (kind != .processor) return error.NotSupported;
    var batch = given;
    switch (mode) {
        .keep => while (batch.next()) |e| try out.keep(e),
        .panic => @panic("asked to"),
        .half => while (batch.next()) |e| : (_ = batch.next()) try out.keep(e),
        .rebuild => while (batch.next()) |e| {
            var attributes: [1024]penstock.Pairs.Pair = undefined;
            var n: usize = 0;
            var pairs = e.attributes();
            while (pairs.next()) |pair| : (n += 1) attributes[n] = pair;
            try out.add(e.time, e.delta, attributes[0..n], e.body);
        },
    }
}
