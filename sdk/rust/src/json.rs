// SPDX-License-Identifier: Apache-2.0

//! The little JSON that a plugin needs: its config, and bodies.

use std::str;

/// A JSON value as it stands in its document. What is not valid JSON has no values; it is looked at only as far as is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<'a>(pub &'a [u8]);

impl<'a> Json<'a> {
    /// The value at a path of members, whose names are parted by dots.
    pub fn get(self, path: &str) -> Option<Json<'a>> {
        path.split('.').try_fold(self, |j, name| j.members()?.find(|(key, _)| key.text().as_deref() == Some(name)).map(|(_, v)| v))
    }
    /// The members of an object.
    pub fn members(self) -> Option<impl Iterator<Item = (Json<'a>, Json<'a>)>> {
        let mut rest = self.inside(b'{')?;
        Some(std::iter::from_fn(move || Some((next_value(&mut rest)?, next_value(&mut rest)?))))
    }
    /// The elements of a list.
    pub fn items(self) -> Option<impl Iterator<Item = Json<'a>>> {
        let mut rest = self.inside(b'[')?;
        Some(std::iter::from_fn(move || next_value(&mut rest)))
    }
    fn inside(self, open: u8) -> Option<&'a [u8]> {
        let text = blank(self.0);
        (text.first() == Some(&open)).then(|| &text[1..])
    }
    pub fn int(self) -> Option<i64> { str::from_utf8(self.0).ok()?.parse().ok() }
    pub fn float(self) -> Option<f64> { str::from_utf8(self.0).ok()?.parse().ok() }
    pub fn bool(self) -> Option<bool> { str::from_utf8(self.0).ok()?.parse().ok() }
    /// The text of a string, with its escapes resolved.
    pub fn text(self) -> Option<String> {
        let inner = str::from_utf8(self.0).ok()?.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(inner.into());
        }
        let (mut out, mut rest) = (Vec::new(), inner);
        while let Some((before, after)) = rest.split_once('\\') {
            out.extend(before.encode_utf16());
            let c = after.chars().next()?;
            rest = &after[c.len_utf8()..];
            if c == 'u' {
                out.push(u16::from_str_radix(rest.get(..4)?, 16).ok()?);
                rest = &rest[4..];
                continue;
            }
            out.push(match c { 'b' => 8, 'f' => 12, 'n' => 10, 'r' => 13, 't' => 9, '"' | '\\' | '/' => c as u16, _ => return None });
        }
        out.extend(rest.encode_utf16());
        Some(String::from_utf16_lossy(&out))
    }
}

fn blank(b: &[u8]) -> &[u8] {
    &b[b.iter().position(|c| !b" \t\r\n,:".contains(c)).unwrap_or(b.len())..]
}

/// Cuts the next value off, without looking into it.
fn next_value<'a>(rest: &mut &'a [u8]) -> Option<Json<'a>> {
    let text = blank(rest);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (i, &c) in text.iter().enumerate() {
        let end = match c {
            _ if escaped => { escaped = false; continue }
            b'\\' if quoted => { escaped = true; continue }
            b'"' => { quoted = !quoted; if quoted || depth > 0 { continue } i + 1 }
            _ if quoted => continue,
            b'{' | b'[' => { depth += 1; continue }
            b'}' | b']' if depth > 0 => { depth -= 1; if depth > 0 { continue } i + 1 }
            b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => i,
            _ => continue,
        };
        *rest = &text[end..];
        return (end > 0).then(|| Json(&text[..end]));
    }
    *rest = &[];
    (depth == 0 && !quoted && !text.is_empty()).then(|| Json(text))
}
