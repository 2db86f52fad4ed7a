// SPDX-License-Identifier: Apache-2.0

//! A processor that makes a JSON object of each line of CSV (RFC 4180: quoted fields, doubled quotes).
const std = @import("std");
const penstock = @import("penstock.zig");

comptime {
    penstock.plugin(@This());
}

const Config = struct { columns: []const []const u8, delimiter: []const u8 = ",", numbers: bool = true };

var config: Config = undefined;
var json: [4 << 20]u8 = undefined; // one event

pub fn open(r: penstock.Request) !void {
    config = try r.config(Config);
    if (config.columns.len == 0) return penstock.fail(error.InvalidArgument, "columns", "columns is empty\nName the fields, from left to right.");
    if (config.delimiter.len != 1) return penstock.fail(error.InvalidArgument, "delimiter", "delimiter is not one byte");
}

pub fn process(given: penstock.Batch, out: *penstock.Builder) !void {
    var batch = given;
    var attributes: [1000]penstock.Pairs.Pair = undefined;
    while (batch.next()) |e| {
        var n: usize = 0;
        var pairs = e.attributes();
        while (pairs.next()) |pair| if (n < attributes.len) {
            attributes[n] = pair;
            n += 1;
        };
        const object = convert(e.body) catch {
            penstock.count("csv_too_long", 1);
            try out.keep(e); // as it is: nothing is lost for being long
            continue;
        };
        try out.add(e.time, e.delta, attributes[0..n], object);
    }
}

fn convert(line: []const u8) ![]const u8 {
    var w = std.Io.Writer.fixed(&json);
    var rest: ?[]const u8 = std.mem.trimEnd(u8, line, "\r\n");
    for (config.columns, 0..) |column, i| {
        const text = rest orelse break; // fewer fields than columns: the others are not there
        try w.writeAll(if (i == 0) "{" else ",");
        try std.json.Stringify.encodeJsonString(column, .{}, &w);
        try w.writeByte(':');
        rest = if (text.len > 0 and text[0] == '"') try quoted(text[1..], &w) else try bare(text, &w);
    }
    try w.writeByte('}');
    return w.buffered();
}

/// Writes a field without quotes, and answers what follows its delimiter, or null at the end of the line.
fn bare(text: []const u8, w: *std.Io.Writer) !?[]const u8 {
    const end = std.mem.indexOfScalar(u8, text, config.delimiter[0]);
    const field = text[0 .. end orelse text.len];
    if (config.numbers and integer(field)) {
        try w.writeAll(field);
    } else try string(field, w);
    return if (end) |at| text[at + 1 ..] else null;
}

/// Whether JSON would take it as a whole number.
fn integer(field: []const u8) bool {
    const digits = if (std.mem.startsWith(u8, field, "-")) field[1..] else field;
    for (digits) |c| if (!std.ascii.isDigit(c)) return false;
    return digits.len > 0 and (digits.len == 1 or digits[0] != '0');
}

/// Writes a field that began with a quote, in which two quotes are one.
fn quoted(text: []const u8, w: *std.Io.Writer) !?[]const u8 {
    var at: usize = 0;
    try w.writeByte('"');
    while (at < text.len) : (at += 1) {
        if (text[at] == '"') {
            if (at + 1 == text.len or text[at + 1] != '"') break;
            at += 1;
        }
        try character(text[at..][0..1], w);
    }
    try w.writeByte('"');
    const after = std.mem.indexOfScalarPos(u8, text, @min(at + 1, text.len), config.delimiter[0]) orelse return null;
    return text[after + 1 ..];
}

fn string(field: []const u8, w: *std.Io.Writer) !void {
    try w.writeByte('"');
    for (0..field.len) |i| try character(field[i..][0..1], w);
    try w.writeByte('"');
}

fn character(c: []const u8, w: *std.Io.Writer) !void {
    switch (c[0]) {
        '"', '\\' => try w.print("\\{s}", .{c}),
        0...0x1f => try w.print("\\u{x:0>4}", .{c[0]}),
        else => try w.writeAll(c),
    }
}
