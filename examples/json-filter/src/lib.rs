// SPDX-License-Identifier: Apache-2.0

//! A processor that keeps events whose body is a JSON object with a certain member, and copies members to attributes.

use penstock::{Batch, Builder, Error, Event, Json, Open, Processor, Result};

penstock::plugins! { processor "json-filter" => Filter }

struct Filter {
    member: String,
    equals: Vec<String>,
    attributes: Vec<String>,
    keep_invalid: bool,
}

fn texts(list: Option<Json<'_>>) -> Vec<String> {
    list.and_then(|l| Some(l.items()?.filter_map(Json::text).collect())).unwrap_or_default()
}

/// A member as people would write it: a string without its quotes, anything else as it stands.
fn plain(value: Json<'_>) -> String {
    value.text().unwrap_or_else(|| String::from_utf8_lossy(value.0).into_owned())
}

impl Filter {
    fn keeps(&self, e: &Event<'_>) -> bool {
        let body = Json(e.body);
        if body.members().is_none() {
            return self.keep_invalid;
        }
        match body.get(&self.member) {
            Some(value) => self.equals.is_empty() || self.equals.contains(&plain(value)),
            None => false,
        }
    }
}

impl Processor for Filter {
    fn open(o: &Open) -> Result<Self> {
        let text = |name| o.config(name).and_then(Json::text).unwrap_or_default();
        if text("member").is_empty() {
            return Err(Error::config("member", "member is empty\nName the member to look at, such as \"level\" or \"http.status\"."));
        }
        Ok(Filter {
            member: text("member"),
            equals: texts(o.config("equals")),
            attributes: texts(o.config("attributes")),
            keep_invalid: text("invalid") == "keep",
        })
    }

    fn process(&mut self, batch: Batch<'_>, out: &mut Builder) -> Result<()> {
        for e in batch.filter(|e| self.keeps(e)) {
            if self.attributes.is_empty() {
                out.keep(&e)?;
                continue;
            }
            let found: Vec<_> = self.attributes.iter().filter_map(|name| Some((name.as_str(), plain(Json(e.body).get(name)?)))).collect();
            let all: Vec<_> = e.attributes().chain(found.iter().map(|(name, value)| (*name, value.as_bytes()))).collect();
            out.append(e.time, e.delta, &all, e.body)?;
        }
        Ok(())
    }
}
