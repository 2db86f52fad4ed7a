// SPDX-License-Identifier: Apache-2.0

//! What stands behind [`plugins!`].

use crate::*;

pub enum Instance { Source(Box<dyn Source>), Sink(Box<dyn Sink>), Processor(Box<dyn Processor>) }

#[derive(Default)]
pub struct Guest { arena: Vec<u8>, batch: Option<Builder>, instance: Option<Instance>, pending: Option<Error> }

fn answer(r: Result<()>) -> i32 {
    let e = match r { Ok(()) => return 0, Err(e) => e };
    if !e.message.is_empty() {
        let delay = e.delay.as_millis().min(i32::MAX as u128) as i32;
        unsafe { raw::fail(e.code, delay, e.path.as_ptr(), e.path.len(), e.message.as_ptr(), e.message.len()) };
    }
    e.code
}
fn lacking() -> Error { Error::new(code::ENOSYS, "the module has no such plugin, or it is not of this kind") }

impl Guest {
    pub fn alloc(&mut self, n: usize) -> *mut u8 {
        const MOST: usize = 17 << 20; // the largest batch, or an open request
        if n > MOST {
            return std::ptr::null_mut();
        }
        if self.arena.len() < n.max(1) {
            self.arena = vec![0; n.next_power_of_two().max(4096)]; // no more than is needed: each page that is touched costs an instance 2 µs
        }
        self.arena.as_mut_ptr()
    }
    pub fn open(&mut self, n: usize, make: fn(&str, &str, &Open) -> Option<Result<Instance>>) -> i32 {
        let made = self.arena.get(..n).and_then(Open::parse).ok_or_else(|| Error::new(code::EINVAL, "the open request is cut"));
        answer(made.and_then(|o| {
            let text = |path| o.json().get(path).and_then(Json::text).unwrap_or_default();
            self.instance = Some(make(&text("kind"), &text("plugin"), &o).ok_or_else(lacking)??);
            Ok(())
        }))
    }
    /// An error that came with events is told by the next poll.
    pub fn poll(&mut self, events: usize, bytes: usize, timeout: i32) -> i32 {
        let s = match &mut self.instance { Some(Instance::Source(s)) => s, _ => return answer(Err(lacking())) };
        if let Some(e) = self.pending.take() {
            if e.code == code::EOF { self.pending = Some(e.clone()) }
            return answer(Err(e));
        }
        let batch = self.batch.get_or_insert_with(|| Builder::new(0));
        batch.limit = bytes;
        let mut p = Poll { max_events: events, timeout: Duration::from_millis(timeout.max(0) as u64), batch, moved: false };
        let r = s.poll(&mut p);
        match (p.flush(), r) {
            (Err(stuck), _) => answer(Err(stuck)),
            (Ok(seq), Err(e)) if seq > 0 && e.code != code::EINTR => { self.pending = Some(e); 0 }
            (_, r) => answer(r),
        }
    }
    pub fn deliver(&mut self, first: u64, next: u64, n: usize) -> i32 {
        match (&mut self.instance, self.arena.get(..n)) {
            (Some(Instance::Sink(s)), Some(b)) => answer(Batch::parse(b).and_then(|b| s.write(b, &Delivery { first, next }))),
            _ => answer(Err(lacking())),
        }
    }
    pub fn process(&mut self, n: usize) -> i32 {
        let (s, b) = match (&mut self.instance, self.arena.get(..n)) {
            (Some(Instance::Processor(s)), Some(b)) => (s, b),
            _ => return answer(Err(lacking())),
        };
        let out = self.batch.get_or_insert_with(|| Builder::new(16 << 20));
        out.reset();
        answer(Batch::parse(b).and_then(|b| s.process(b, out)).and_then(|()| out.emit().map(drop)))
    }
    pub fn ack(&mut self, seq: u64, status: i32) { if let Some(Instance::Source(s)) = &mut self.instance { s.ack(seq, status) } }
    pub fn prune(&mut self, low: u64) -> i32 { if let Some(Instance::Sink(s)) = &mut self.instance { answer(s.prune(low)) } else { 0 } }
    pub fn idle(&mut self) -> i32 {
        match &mut self.instance { Some(Instance::Source(s)) => answer(s.idle()), Some(Instance::Sink(s)) => answer(s.idle()), _ => 0 }
    }
    pub fn close(&mut self) -> i32 {
        match &mut self.instance {
            Some(Instance::Source(s)) => answer(s.close()),
            Some(Instance::Sink(s)) => answer(s.close()),
            Some(Instance::Processor(s)) => answer(s.close()),
            None => 0,
        }
    }
}

/// Names the plugins of the module, as plugin.hcl does, and exports what the host calls:
///
/// ```ignore
/// penstock::plugins! { source "ticker" => Ticker, sink "appender" => Appender }
/// ```
#[macro_export]
macro_rules! plugins {
    (@ source) => { $crate::guest::Instance::Source };
    (@ sink) => { $crate::guest::Instance::Sink };
    (@ processor) => { $crate::guest::Instance::Processor };
    ($($kind:ident $name:literal => $type:ty),+ $(,)?) => {
        #[doc(hidden)]
        mod penstock_exports {
            use super::*;
            use $crate::guest::{Guest, Instance};
            fn make(kind: &str, name: &str, o: &$crate::Open) -> Option<$crate::Result<Instance>> {
                match (kind, name) {
                    $((stringify!($kind), $name) => Some(<$type>::open(o).map(|i| $crate::plugins!(@ $kind)(Box::new(i)))),)+
                    _ => None,
                }
            }
            /// One instance, one thread, one call at a time.
            fn guest() -> &'static mut Guest {
                static mut GUEST: *mut Guest = std::ptr::null_mut();
                unsafe {
                    if GUEST.is_null() { GUEST = Box::into_raw(Box::new(Guest::default())) }
                    &mut *GUEST
                }
            }
            extern "C" { fn __wasm_call_ctors(); }
            #[no_mangle] pub extern "C" fn _initialize() { unsafe { __wasm_call_ctors() } }
            #[no_mangle] pub extern "C" fn penstock_abi_1() {}
            #[no_mangle] pub extern "C" fn penstock_alloc(n: usize) -> *mut u8 { guest().alloc(n) }
            #[no_mangle] pub extern "C" fn penstock_open(n: usize) -> i32 { guest().open(n, make) }
            #[no_mangle] pub extern "C" fn penstock_close() -> i32 { guest().close() }
            #[no_mangle] pub extern "C" fn penstock_idle() -> i32 { guest().idle() }
            #[no_mangle] pub extern "C" fn penstock_poll(events: usize, bytes: usize, timeout: i32) -> i32 { guest().poll(events, bytes, timeout) }
            #[no_mangle] pub extern "C" fn penstock_ack(seq: u64, status: i32) { guest().ack(seq, status) }
            #[no_mangle] pub extern "C" fn penstock_deliver(first: u64, next: u64, n: usize) -> i32 { guest().deliver(first, next, n) }
            #[no_mangle] pub extern "C" fn penstock_prune(low: u64) -> i32 { guest().prune(low) }
            #[no_mangle] pub extern "C" fn penstock_process(n: usize) -> i32 { guest().process(n) }
        }
    };
}
