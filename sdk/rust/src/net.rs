// SPDX-License-Identifier: Apache-2.0

//! The network: handles, by the names in plugin.hcl. A [`Handle`] is closed when it is dropped. Timeouts: `Duration::ZERO` does not wait;
//! `None` waits until the host wants the plugin back.

use crate::{ask, check, raw, Result};
use std::time::Duration;

pub struct Handle(pub i32);
fn ms(t: Option<Duration>) -> i32 { t.map_or(-1, |d| d.as_millis().min(i32::MAX as u128) as i32) }
/// Dials a granted address, or hands over its listener.
pub fn open(name: &str, t: Option<Duration>) -> Result<Handle> { check(unsafe { raw::net_open(name.as_ptr(), name.len(), ms(t)) }).map(Handle) }
/// Which handles of the instance can be read or accepted from.
pub fn wait(ready: &mut [u32], t: Option<Duration>) -> Result<usize> {
    check(unsafe { raw::net_wait(ready.as_mut_ptr(), ready.len(), ms(t)) }).map(|n| n as usize)
}
impl Handle {
    pub fn accept(&self, t: Option<Duration>) -> Result<Handle> { check(unsafe { raw::net_accept(self.0, ms(t)) }).map(Handle) }
    /// At least one byte; an error with `EOF` at the end.
    pub fn read(&self, b: &mut [u8], t: Option<Duration>) -> Result<usize> {
        check(unsafe { raw::net_read(self.0, b.as_mut_ptr(), b.len(), ms(t)) }).map(|n| n as usize)
    }
    /// after: 0, or the number of a batch, which is made durable first.
    pub fn write(&self, b: &[u8], t: Option<Duration>, after: u64) -> Result<usize> {
        check(unsafe { raw::net_write(self.0, b.as_ptr(), b.len(), ms(t), after) }).map(|n| n as usize)
    }
    /// Nothing more will be written.
    pub fn shutdown(&self) -> Result<()> { check(unsafe { raw::net_shutdown(self.0) }).map(drop) }
    /// Gives an accepted connection to the next instance, whose first reads are `rest`: what was read and not emitted. Or closes it.
    pub fn pass(self, rest: &[u8]) -> Result<()> { check(unsafe { raw::net_pass(self.0, rest.as_ptr(), rest.len()) }).map(|_| std::mem::forget(self)) }
    /// JSON: local, remote, tls.
    pub fn info(&self) -> Result<Vec<u8>> { ask(|p, cap| unsafe { raw::net_info(self.0, p, cap) }) }
}
impl Drop for Handle {
    fn drop(&mut self) { unsafe { raw::net_close(self.0) }; }
}
