// SPDX-License-Identifier: Apache-2.0

//! The plugin by which the SDK is tested, and an example of one module with all three kinds: a source that counts, a processor that hands on
//! what it is given, a sink that looks at everything and keeps nothing.

use penstock::{Batch, Builder, Delivery, Error, Open, Poll, Processor, Refused, Result, Sink, Source};

penstock::plugins! {
    source "echo" => Counter,
    processor "echo" => Echo,
    sink "echo" => Nothing,
}

struct Counter {
    next: i64,
    count: i64,
}

impl Source for Counter {
    fn open(o: &Open) -> Result<Self> {
        let count = match o.config("count") {
            Some(n) => n.int().ok_or_else(|| Error::config("count", "count is not a whole number"))?,
            None => 0,
        };
        let next = match o.cursor.get(&b"next"[..]) {
            Some(text) => std::str::from_utf8(text).ok().and_then(|s| s.parse().ok()).ok_or_else(|| Error::config("", "the cursor is not a number"))?,
            None => 0,
        };
        Ok(Counter { next, count })
    }

    fn poll(&mut self, p: &mut Poll) -> Result<()> {
        if self.next >= self.count {
            return Err(Error::done());
        }
        let now = penstock::now();
        while self.next < self.count {
            match p.append(now, &[("kind", b"echo")], format!("event {}", self.next).as_bytes()) {
                Ok(()) => self.next += 1,
                Err(Refused::Full) => break,
                Err(e) => return Err(e.into()),
            }
        }
        p.set_cursor(b"next", self.next.to_string().as_bytes())
    }
}

enum Echo {
    Keep,
    Rebuild,
    Half,
    Panic,
}

impl Processor for Echo {
    fn open(o: &Open) -> Result<Self> {
        match o.config("mode").map(|m| m.text()) {
            None => Ok(Echo::Keep),
            Some(Some(m)) if m == "keep" => Ok(Echo::Keep),
            Some(Some(m)) if m == "rebuild" => Ok(Echo::Rebuild),
            Some(Some(m)) if m == "half" => Ok(Echo::Half),
            Some(Some(m)) if m == "panic" => Ok(Echo::Panic),
            _ => Err(Error::config("mode", "no such mode\nIt is keep, rebuild, half or panic.")),
        }
    }

    fn process(&mut self, batch: Batch<'_>, out: &mut Builder) -> Result<()> {
        match self {
            Echo::Panic => panic!("asked to break on {} bytes", batch.map(|e| e.body.len()).sum::<usize>()),
            Echo::Keep => for e in batch { out.keep(&e)? },
            Echo::Half => for e in batch.step_by(2) { out.keep(&e)? },
            Echo::Rebuild => for e in batch { out.append(e.time, e.delta, &e.attributes().collect::<Vec<_>>(), e.body)? },
        }
        Ok(())
    }
}

struct Nothing;

impl Sink for Nothing {
    fn open(_: &Open) -> Result<Self> {
        Ok(Nothing)
    }

    fn write(&mut self, batch: Batch<'_>, d: &Delivery) -> Result<()> {
        let mut bytes = 0;
        for e in batch {
            bytes += e.body.len();
            if !(d.first..d.next).contains(&(batch.base + u64::from(e.delta))) {
                return Err(Error::new(penstock::code::EIO, "an event outside of the range"));
            }
        }
        penstock::count("bytes", bytes as f64);
        Ok(())
    }
}
