// SPDX-License-Identifier: Apache-2.0

//! The imports as they are (spec/abi.md §2).

#[link(wasm_import_module = "penstock")]
extern "C" {
    pub fn emit(ptr: *const u8, len: usize) -> i64;
    pub fn cursor(key: *const u8, klen: usize, val: *const u8, vlen: usize) -> i32;
    pub fn result(index: u32, code: i32, ptr: *const u8, len: usize) -> i32;
    pub fn fail(code: i32, delay_ms: i32, path: *const u8, plen: usize, msg: *const u8, mlen: usize) -> i32;
    pub fn position(incarnation: u64, first: u64, next: u64) -> i32;
    pub fn log(level: i32, ptr: *const u8, len: usize) -> i32;
    pub fn metric(kind: i32, name: *const u8, len: usize, value: f64) -> i32;
    pub fn now() -> i64;
    pub fn sleep(ms: i32) -> i32;
    pub fn secret(name: *const u8, nlen: usize, ptr: *mut u8, cap: usize) -> i32;
    pub fn net_open(name: *const u8, nlen: usize, timeout: i32) -> i32;
    pub fn net_accept(fd: i32, timeout: i32) -> i32;
    pub fn net_read(fd: i32, ptr: *mut u8, cap: usize, timeout: i32) -> i32;
    pub fn net_write(fd: i32, ptr: *const u8, len: usize, timeout: i32, after: u64) -> i32;
    pub fn net_recvfrom(fd: i32, ptr: *mut u8, cap: usize, addr: *mut u8, acap: usize, timeout: i32) -> i64;
    pub fn net_shutdown(fd: i32) -> i32;
    pub fn net_close(fd: i32) -> i32;
    pub fn net_pass(fd: i32, rest: *const u8, len: usize) -> i32;
    pub fn net_info(fd: i32, ptr: *mut u8, cap: usize) -> i32;
    pub fn net_wait(out: *mut u32, cap: usize, timeout: i32) -> i32;
    pub fn http_send(name: *const u8, nlen: usize, batch: *const u8, len: usize, timeout: i32) -> i32;
    pub fn http_status(id: i32, timeout: i32) -> i32;
    pub fn http_head(id: i32, ptr: *mut u8, cap: usize) -> i32;
    pub fn http_read(id: i32, ptr: *mut u8, cap: usize, timeout: i32) -> i32;
    pub fn http_close(id: i32) -> i32;
    pub fn http_next(ptr: *mut u8, cap: usize, timeout: i32) -> i32;
    pub fn http_reply(id: i32, status: i32, batch: *const u8, len: usize, after: u64) -> i32;
}
