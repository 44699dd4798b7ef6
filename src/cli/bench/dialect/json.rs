//! fanfare.v1 in JSON.

use std::io::Write;

use super::{Heard, Publish, Wanted, find};

/// The events that come by the million: messages and answers to publishes.
#[inline]
pub(super) fn common(input: &[u8]) -> Option<Heard<'_>> {
    let rest = input.strip_prefix(br#"{"type":""#)?;
    if let Some(rest) = rest.strip_prefix(br#"message","topic":""#) {
        // Names of a run hold nothing that JSON escapes.
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (topic, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(br#"","offset":"#)?;
        let mut offset = 0_u64;
        let mut digits = 0;
        while let Some(digit) = rest.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            offset = offset.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
        }
        // The first message carries its epoch, and a topic may add times and names.
        const DATA: &[u8] = br#","data":"#;
        let rest = &rest[digits..];
        let data = match rest.strip_prefix(DATA) {
            Some(data) => data,
            None => &rest[find(rest, DATA)? + DATA.len()..],
        };
        return Some(Heard::Message { topic: Some(topic), offset: Some(offset), data: data.strip_suffix(b"}")? });
    }
    rest.starts_with(br#"published""#).then_some(Heard::Published)
}

pub(super) fn subscribe(wanted: &[Wanted<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"subscribe","id":0,"topics":["#);
    for (nth, wanted) in wanted.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        // Infallible: the writer is a Vec. Names need no escape: the plan has checked them.
        let _ = match wanted.since {
            None => write!(out, r#""{}""#, wanted.topic),
            Some(since) => write!(
                out,
                r#"{{"topic":"{}","since":{{"epoch":"{}","offset":{}}}}}"#,
                wanted.topic, since.epoch, since.offset
            ),
        };
    }
    out.extend_from_slice(b"]}");
}

pub(super) fn publish(publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Vec<u8>) {
    // Infallible: the writer is a Vec.
    let _ = write!(out, r#"{{"type":"publish","id":{},"topic":"{}","data":"#, publish.id, publish.topic);
    data(out);
    out.push(b'}');
}
