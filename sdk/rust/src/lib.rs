// SPDX-License-Identifier: Apache-2.0

//! Write a [Penstock](https://github.com/penstock-io/penstock) plugin in Rust, without dependencies, from Rust 1.63 on.
//!
//! Implement [`Source`], [`Sink`] or [`Processor`], name what there is in [`plugins!`], and build a `cdylib` with `penstock plugin build`.
//! Calls into a plugin never overlap, a panic ends the instance, and another is opened at the committed cursor.

use std::time::Duration;
use std::{collections::BTreeMap, fmt, io, str};

#[doc(hidden)]
pub mod guest;
mod json;
pub mod net;
pub mod raw;
pub use json::Json;

/// Why something did not work, and by its code what the host does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: i32,
    /// The first line is what happened, the rest what the user can do.
    pub message: String,
    /// The argument of the config that is wrong, or empty.
    pub path: String,
    /// For retries: not before. Zero is the host's own back-off.
    pub delay: Duration,
}

pub type Result<T> = std::result::Result<T, Error>;

/// Codes of the ABI. An unknown one counts as `EAGAIN`.
pub mod code {
    pub const EAGAIN: i32 = -1; // tried again later
    pub const EINTR: i32 = -2; // the host wants the plugin back: return
    pub const EOF: i32 = -3; // a source has finished for good; the end of a stream
    pub const ETIMEDOUT: i32 = -4; // tried again
    pub const EIO: i32 = -5; // tried again: the outside answered wrongly
    pub const EINVAL: i32 = -6; // held: a wrong argument
    pub const EACCES: i32 = -7; // held: not granted
    pub const ETOOBIG: i32 = -8; // rejected: over a limit
    pub const ENOENT: i32 = -9; // tried again: it is not there, or not yet
    pub const EREJECT: i32 = -10; // rejected: it will never be taken
    pub const ENOSYS: i32 = -11; // held: the host or the plugin lacks this
}

impl Error {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), path: String::new(), delay: Duration::ZERO }
    }
    /// The same may work later: after `delay`, or the host's own back-off if that is zero.
    pub fn retry(message: impl Into<String>, delay: Duration) -> Self {
        Error { delay, ..Error::new(code::EAGAIN, message) }
    }
    /// An argument is wrong, so that the plugin cannot work; the host points at its line.
    pub fn config(path: &str, message: impl Into<String>) -> Self {
        Error { path: path.into(), ..Error::new(code::EINVAL, message) }
    }
    /// Of a sink: nothing was applied, and what [`Delivery::reject`] listed (all, if nothing) will never be taken.
    pub fn reject(message: impl Into<String>) -> Self {
        Error::new(code::EREJECT, message)
    }
    /// Of a source: it has finished for good.
    pub fn done() -> Self {
        Error::new(code::EOF, "")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}
impl std::error::Error for Error {}
impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        let code = match e.kind() {
            io::ErrorKind::NotFound => code::ENOENT,
            io::ErrorKind::PermissionDenied => code::EACCES,
            _ => code::EAGAIN,
        };
        Error::new(code, e.to_string())
    }
}

/// Brings events in.
pub trait Source {
    fn open(o: &Open) -> Result<Self> where Self: Sized;
    /// Appends events and says how far that brings the source. What was appended goes out when this returns, also with an error.
    fn poll(&mut self, p: &mut Poll) -> Result<()>;
    /// What became of all up to `seq`: 0, it is durable; a code, `seq` and all later are refused, and close follows.
    fn ack(&mut self, _seq: u64, _status: i32) {}
    fn idle(&mut self) -> Result<()> { Ok(()) }
    fn close(&mut self) -> Result<()> { Ok(()) }
}

/// Takes events out.
pub trait Sink {
    fn open(o: &Open) -> Result<Self> where Self: Sized;
    /// `Ok`: the destination holds all of it, on disk or wherever it is safe, but what was rejected.
    fn write(&mut self, batch: Batch<'_>, d: &Delivery) -> Result<()>;
    /// Ranges wholly below `low` will never be asked for again.
    fn prune(&mut self, _low: u64) -> Result<()> { Ok(()) }
    fn idle(&mut self) -> Result<()> { Ok(()) }
    fn close(&mut self) -> Result<()> { Ok(()) }
}

/// Changes batches. It is a pure function of one batch.
pub trait Processor {
    fn open(o: &Open) -> Result<Self> where Self: Sized;
    fn process(&mut self, batch: Batch<'_>, out: &mut Builder) -> Result<()>;
    fn close(&mut self) -> Result<()> { Ok(()) }
}

/// What an instance is opened with.
pub struct Open {
    document: Vec<u8>,
    /// Of a source: where to go on, as far as it was committed.
    pub cursor: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Open {
    fn parse(request: &[u8]) -> Option<Open> {
        let n = u32_at(request, 0)? as usize;
        let (document, rest) = (request.get(4..)?.get(..n)?, request.get(4 + n..)?);
        let (count, pairs) = (u32_at(rest, 0)?, &rest[4..]);
        if walk(pairs, count, false)? != pairs.len() {
            return None;
        }
        let cursor = Pairs { rest: pairs, left: count }.map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        Some(Open { document: document.to_vec(), cursor })
    }
    /// The whole request: plugin, kind, config, instance, stream, incarnations.
    pub fn json(&self) -> Json<'_> { Json(&self.document) }
    /// An argument of the config, by its path: `o.config("multiline.pattern")`.
    pub fn config(&self, path: &str) -> Option<Json<'_>> { self.json().get("config")?.get(path) }
    /// Says that the destination holds a range already (a sink that stores ranges, in open).
    pub fn held(&self, incarnation: u64, first: u64, next: u64) -> Result<()> {
        check(unsafe { raw::position(incarnation, first, next) }).map(drop)
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> { Some(u16::from_le_bytes(b.get(at..at + 2)?.try_into().ok()?)) }
fn u32_at(b: &[u8], at: usize) -> Option<u32> { Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?)) }
fn u64_at(b: &[u8], at: usize) -> Option<u64> { Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?)) }

const HEADER: usize = 32;
const RECORD: usize = 24;
const PAIR: usize = 6;

/// Checks pairs, and answers how many bytes they take. Lengths are added in 64 bits.
fn walk(b: &[u8], pairs: u32, utf8: bool) -> Option<usize> {
    let mut at = 0;
    for _ in 0..pairs {
        let name = u16_at(b, at)? as usize;
        let next = (at + PAIR + name) as u64 + u64::from(u32_at(b, at + 2)?);
        if next > b.len() as u64 || utf8 && str::from_utf8(&b[at + PAIR..at + PAIR + name]).is_err() {
            return None;
        }
        at = next as usize;
    }
    Some(at)
}

/// Names and values, one after the other.
#[derive(Clone, Copy)]
struct Pairs<'a> { rest: &'a [u8], left: u32 }

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name, value) = (u16_at(self.rest, 0)? as usize, u32_at(self.rest, 2)? as usize);
        let (pair, rest) = self.rest[PAIR..].split_at(name + value);
        self.rest = rest;
        Some(pair.split_at(name))
    }
}

/// A batch whose every bound has been checked. It yields [`Event`]s.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// base + delta is the offset of an event in its channel.
    pub base: u64,
    left: u32,
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Takes bytes that are a whole batch: of the host, of [`raw::http_next`] or [`raw::http_head`].
    pub fn parse(b: &'a [u8]) -> Result<Batch<'a>> {
        Batch::checked(b).ok_or_else(|| Error::new(code::EINVAL, "not a batch, or a broken one"))
    }
    fn checked(b: &'a [u8]) -> Option<Batch<'a>> {
        let batch = Batch { base: u64_at(b, 24)?, left: u32_at(b, 8)?, rest: &b[HEADER..] };
        let header = b.starts_with(b"PSB1\x01\x00") && u16_at(b, 6)? <= 1 && u32_at(b, 12)? as usize == b.len() && u32_at(b, 20)? == 0;
        let (mut rest, mut last) = (batch.rest, 0);
        for _ in 0..batch.left {
            let (head, tail) = (u64_at(rest, 0)?, u64_at(rest, 16)?); // two of the fixed part's fields at a time
            let (size, pairs, delta) = (head as u32 as usize, (head >> 32) as u32, (tail >> 32) as u32);
            let fields = rest.get(RECORD..size)?;
            let body = if pairs == 0 { fields.len() } else { fields.len() - walk(fields, pairs, true)? };
            if pairs > 1024 || body != tail as u32 as usize || delta < last {
                return None; // pairs has the type in it, which is 0
            }
            (rest, last) = (&rest[size..], delta);
        }
        (header && rest.is_empty() && batch.base.checked_add(last.into()).is_some()).then(|| batch)
    }
    /// How many events are yet to come.
    pub fn len(&self) -> usize { self.left as usize }
    pub fn is_empty(&self) -> bool { self.left == 0 }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Event<'a>;
    #[inline]
    fn next(&mut self) -> Option<Event<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Batch::parse has looked at every bound, and nothing else makes batches: what an event is not asked for costs nothing.
        unsafe {
            let field = |at| u32::from_le_bytes(*self.rest.as_ptr().add(at).cast());
            let (size, body) = (field(0) as usize, field(16) as usize);
            let (record, rest) = (self.rest.get_unchecked(..size), self.rest.get_unchecked(size..));
            let time = i64::from_le_bytes(*record.as_ptr().add(8).cast());
            let delta = field(20);
            self.rest = rest;
            Some(Event { time, delta, body: record.get_unchecked(size - body..), record })
        }
    }
}

/// One event of a batch.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// Nanoseconds since 1970.
    pub time: i64,
    pub delta: u32,
    pub body: &'a [u8],
    record: &'a [u8],
}

impl<'a> Event<'a> {
    /// The attributes in their order; of equal names the first counts.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let pairs = Pairs { rest: &self.record[RECORD..], left: u16_at(self.record, 4).unwrap_or(0).into() };
        pairs.map(|(name, value)| (unsafe { str::from_utf8_unchecked(name) }, value)) // Batch::parse has looked
    }
    pub fn attribute(&self, name: &str) -> Option<&'a [u8]> { self.attributes().find(|a| a.0 == name).map(|a| a.1) }
}

/// Builds batches, in memory that is used again.
pub struct Builder { buf: Vec<u8>, count: u32, limit: usize }

/// What [`Builder`] answers when an event does not go into the batch. The batch is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Return, or emit, and append it again.
    Full,
    /// It will never fit: split it, cut it or drop it.
    TooBig,
    /// Too many attributes, or a name that is too long or the host's.
    Attributes,
}

impl From<Refused> for Error {
    fn from(r: Refused) -> Self {
        match r {
            Refused::Full => Error::new(code::ETOOBIG, "the batch is full"),
            Refused::TooBig => Error::new(code::ETOOBIG, "the event is over the limit of a batch"),
            Refused::Attributes => Error::new(code::EINVAL, "the event has attributes that cannot be encoded"),
        }
    }
}

impl Builder {
    pub fn new(limit: usize) -> Self { Builder { buf: vec![0; HEADER], count: 0, limit } }
    pub fn len(&self) -> usize { self.count as usize }
    pub fn is_empty(&self) -> bool { self.count == 0 }

    /// Appends an event. delta: in a processor that of the event it was made from.
    pub fn append(&mut self, time: i64, delta: u32, attributes: &[(&str, &[u8])], body: &[u8]) -> std::result::Result<(), Refused> {
        let bad = |a: &(&str, &[u8])| a.0.len() > 0xffff || a.0.starts_with("penstock.");
        if attributes.len() > 1000 || attributes.iter().any(bad) {
            return Err(Refused::Attributes);
        }
        let size = RECORD + attributes.iter().map(|a| PAIR + a.0.len() + a.1.len()).sum::<usize>() + body.len();
        self.room(size)?;
        let mut head = [0; RECORD];
        head[..4].copy_from_slice(&(size as u32).to_le_bytes());
        head[4..6].copy_from_slice(&(attributes.len() as u16).to_le_bytes());
        head[8..16].copy_from_slice(&time.to_le_bytes());
        head[16..20].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[20..].copy_from_slice(&delta.to_le_bytes());
        self.buf.extend_from_slice(&head);
        for (name, value) in attributes {
            self.buf.extend_from_slice(&(name.len() as u16).to_le_bytes());
            self.buf.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.buf.extend_from_slice(name.as_bytes());
            self.buf.extend_from_slice(value);
        }
        self.buf.extend_from_slice(body);
        self.count += 1;
        Ok(())
    }
    /// Appends an event as it is, with its delta.
    pub fn keep(&mut self, e: &Event<'_>) -> std::result::Result<(), Refused> {
        self.room(e.record.len())?;
        self.buf.extend_from_slice(e.record);
        self.count += 1;
        Ok(())
    }
    fn room(&self, record: usize) -> std::result::Result<(), Refused> {
        const MARGIN: usize = 64;
        match () {
            _ if record + MARGIN > self.limit => Err(Refused::TooBig),
            _ if self.buf.len() + record > self.limit => Err(Refused::Full),
            _ => Ok(()),
        }
    }
    /// The batch, for [`raw::http_send`] and [`raw::http_reply`].
    pub fn bytes(&mut self) -> &[u8] {
        let n = self.buf.len() as u32;
        self.buf[..8].copy_from_slice(b"PSB1\x01\x00\x00\x00");
        self.buf[8..12].copy_from_slice(&self.count.to_le_bytes());
        self.buf[12..16].copy_from_slice(&n.to_le_bytes());
        &self.buf
    }
    /// Forgets what was appended.
    pub fn reset(&mut self) {
        self.buf.truncate(HEADER);
        self.count = 0;
    }
    fn emit(&mut self) -> Result<u64> {
        let b = self.bytes();
        let seq = unsafe { raw::emit(b.as_ptr(), b.len()) };
        self.reset();
        if seq > 0 { Ok(seq as u64) } else { Err(Error::new(seq.min(-1) as i32, "the host refused the batch")) }
    }
}

/// Collects what a source brings. It belongs to the call it was handed to.
pub struct Poll<'a> {
    pub max_events: usize,
    /// How long to wait for the first event.
    pub timeout: Duration,
    batch: &'a mut Builder,
    moved: bool,
}

impl Poll<'_> {
    /// Appends an event. [`Refused::Full`]: return, and append it in the next poll.
    pub fn append(&mut self, time: i64, attributes: &[(&str, &[u8])], body: &[u8]) -> std::result::Result<(), Refused> {
        if self.batch.len() >= self.max_events {
            return Err(Refused::Full);
        }
        self.batch.append(time, self.batch.count, attributes, body)
    }
    /// Says how far the batch brings the source. Entries that are not set stay; an empty value deletes one.
    pub fn set_cursor(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.moved = true;
        check(unsafe { raw::cursor(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }).map(drop)
    }
    /// Sends the batch, and answers its number, or 0 when there was nothing to send. What is left goes out when poll returns.
    pub fn flush(&mut self) -> Result<u64> {
        if self.batch.is_empty() && !self.moved {
            return Ok(0);
        }
        self.moved = false;
        self.batch.emit()
    }
}

/// How a sink answers about single events. It belongs to the call it was handed to.
pub struct Delivery {
    /// The range of offsets that the batch covers: wider than its events where a filter left some out.
    pub first: u64,
    pub next: u64,
}

impl Delivery {
    /// The destination will never take the event at this place in the batch.
    pub fn reject(&self, index: usize, why: &str) -> Result<()> {
        check(unsafe { raw::result(index as u32, code::EREJECT, why.as_ptr(), why.len()) }).map(drop)
    }
}

/// Makes an error of a negative code.
pub fn check(code: i32) -> Result<i32> {
    if code >= 0 { Ok(code) } else { Err(Error::new(code, if code == code::EINTR { "" } else { "the host answers" })) }
}

/// Wall clock, in nanoseconds since 1970. Once a batch is enough.
pub fn now() -> i64 { unsafe { raw::now() } }
/// Waits; an error with `EINTR`: the host wants the plugin back, return it.
pub fn sleep(d: Duration) -> Result<()> { check(unsafe { raw::sleep(d.as_millis().min(i32::MAX as u128) as i32) }).map(drop) }
/// level: -4 debug, 0 info, 4 warning, 8 error.
pub fn log(level: i32, text: &str) { unsafe { raw::log(level, text.as_ptr(), text.len()) }; }
/// Adds to a counter.
pub fn count(name: &str, n: f64) { unsafe { raw::metric(0, name.as_ptr(), name.len(), n) }; }
/// Sets a gauge.
pub fn gauge(name: &str, value: f64) { unsafe { raw::metric(1, name.as_ptr(), name.len(), value) }; }
/// The value of a granted secret.
pub fn secret(name: &str) -> Result<Vec<u8>> { ask(|p, cap| unsafe { raw::secret(name.as_ptr(), name.len(), p, cap) }) }

/// Asks for something until there is room for it, as calls of the form (ptr, cap) -> len want it.
pub fn ask(mut f: impl FnMut(*mut u8, usize) -> i32) -> Result<Vec<u8>> {
    let mut buf = vec![0; 256];
    loop {
        let n = check(f(buf.as_mut_ptr(), buf.len()))? as usize;
        let fits = n <= buf.len();
        buf.resize(n, 0);
        if fits {
            return Ok(buf);
        }
    }
}
