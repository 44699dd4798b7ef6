//! The outer map of a command: its known fields, still raw.

use std::borrow::Cow;
use std::str;

use super::decode::bad_request;
use super::scan::{Flaw, Key, Malformed, Scan};
use super::topic::TOPIC_BYTES_MAX;
use super::{Fault, Id, Refusal};

const ID_INT_MAX: u64 = (1 << 53) - 1;
const ID_BYTES_MAX: usize = 64;

/// A field that some command knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Type,
    Id,
    Topic,
    Topics,
    Data,
    Key,
    IdempotencyKey,
    Echo,
    Since,
    Last,
    Presence,
    Member,
    Limit,
    Token,
    Resume,
    Messages,
    Receivers,
    MaxRate,
}

const FIELDS: usize = Field::MaxRate as usize + 1;

impl Field {
    fn named(key: &[u8]) -> Option<Field> {
        Some(match key {
            b"type" => Field::Type,
            b"id" => Field::Id,
            b"topic" => Field::Topic,
            b"topics" => Field::Topics,
            b"data" => Field::Data,
            b"key" => Field::Key,
            b"idempotency_key" => Field::IdempotencyKey,
            b"echo" => Field::Echo,
            b"since" => Field::Since,
            b"last" => Field::Last,
            b"presence" => Field::Presence,
            b"member" => Field::Member,
            b"limit" => Field::Limit,
            b"token" => Field::Token,
            b"resume" => Field::Resume,
            b"messages" => Field::Messages,
            b"receivers" => Field::Receivers,
            b"max_rate" => Field::MaxRate,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Field::Type => "type",
            Field::Id => "id",
            Field::Topic => "topic",
            Field::Topics => "topics",
            Field::Data => "data",
            Field::Key => "key",
            Field::IdempotencyKey => "idempotency_key",
            Field::Echo => "echo",
            Field::Since => "since",
            Field::Last => "last",
            Field::Presence => "presence",
            Field::Member => "member",
            Field::Limit => "limit",
            Field::Token => "token",
            Field::Resume => "resume",
            Field::Messages => "messages",
            Field::Receivers => "receivers",
            Field::MaxRate => "max_rate",
        }
    }
}

/// The fields of one envelope. Each command takes those it knows; the others are ignored.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    /// The exact bytes of each known field's value.
    values: [Option<&'a [u8]>; FIELDS],
    /// What keeps `data` from being carried, counted from its first byte.
    data_flaw: Option<Flaw>,
    /// The same for `member`.
    member_flaw: Option<Flaw>,
    /// The first breach of form that does not keep the fields from being read.
    breach: Option<Breach>,
}

#[derive(Debug, Clone, Copy)]
enum Breach {
    Twice(Field),
    OtherKey,
    TooDeep,
}

impl<'a> Envelope<'a> {
    /// Reads the map that the scanner has just entered, once.
    pub(super) fn read<S: Scan<'a>>(&mut self, scan: &mut S, mut open: S::Open) -> Result<(), Malformed> {
        while let Some(key) = scan.key(&mut open)? {
            let value_at = scan.position();
            let value = scan.value()?;
            let flaw = value.flaw.map(|flaw| Flaw { at: flaw.at - value_at, ..flaw });
            let field = match key {
                Key::Text(key) => Field::named(&key).or_else(|| {
                    if str::from_utf8(&key).is_err() {
                        self.breach.get_or_insert(Breach::OtherKey);
                    }
                    None
                }),
                Key::Other => {
                    self.breach.get_or_insert(Breach::OtherKey);
                    None
                }
            };
            match field {
                Some(Field::Data) => self.data_flaw = flaw,
                Some(Field::Member) => self.member_flaw = flaw,
                _ if flaw.is_some_and(|flaw| flaw.fault == Fault::TooDeep) => {
                    self.breach.get_or_insert(Breach::TooDeep);
                }
                _ => {}
            }
            if let Some(field) = field
                && self.values[field as usize].replace(value.bytes).is_some()
            {
                let twice = Breach::Twice(field);
                match field {
                    // Goes before other breaches, so that neither of two ids is echoed.
                    Field::Id => self.breach = Some(twice),
                    _ => _ = self.breach.get_or_insert(twice),
                }
            }
        }
        Ok(())
    }

    /// Holds that no key stands twice, every key is text and nothing outside `data` is too deep.
    pub(super) fn check_form(&self) -> Result<(), Refusal<'static>> {
        match self.breach {
            None => Ok(()),
            Some(Breach::Twice(field)) => Err(wrong(field, "stands twice")),
            Some(Breach::OtherKey) => Err(bad_request("a key is not a string")),
            Some(Breach::TooDeep) => Err(bad_request("more than 128 levels outside of `data`")),
        }
    }

    /// The id, whatever else is wrong.
    pub(super) fn id<S: Scan<'a>>(&self) -> Result<Option<Id<'a>>, Refusal<'static>> {
        let Some(value) = self.field(Field::Id) else {
            return Ok(None);
        };
        if matches!(self.breach, Some(Breach::Twice(Field::Id))) {
            return Err(wrong(Field::Id, "stands twice"));
        }
        if let Some(value) = S::uint(value)
            && value <= ID_INT_MAX
        {
            return Ok(Some(Id::Int(value)));
        }
        match S::text(value) {
            Some(text) if text.len() <= ID_BYTES_MAX => Ok(Some(Id::Str(text))),
            _ => Err(wrong(Field::Id, "must be an integer from 0 to 2^53-1 or a string of up to 64 bytes")),
        }
    }

    /// The exact bytes of a field's value.
    pub(super) fn field(&self, field: Field) -> Option<&'a [u8]> {
        self.values[field as usize]
    }

    pub(super) fn data_flaw(&self) -> Option<Flaw> {
        self.data_flaw
    }

    pub(super) fn member_flaw(&self) -> Option<Flaw> {
        self.member_flaw
    }

    pub(super) fn text<S: Scan<'a>>(&self, field: Field) -> Result<Option<Cow<'a, str>>, Refusal<'static>> {
        self.typed(field, S::text, "must be a string")
    }

    pub(super) fn required_text<S: Scan<'a>>(&self, field: Field) -> Result<Cow<'a, str>, Refusal<'static>> {
        self.text::<S>(field)?.ok_or_else(|| wrong(field, "is missing"))
    }

    pub(super) fn uint<S: Scan<'a>>(&self, field: Field) -> Result<Option<u64>, Refusal<'static>> {
        self.typed(field, S::uint, "must be an integer, 0 or more")
    }

    pub(super) fn boolean<S: Scan<'a>>(&self, field: Field) -> Result<Option<bool>, Refusal<'static>> {
        self.typed(field, S::boolean, "must be true or false")
    }

    fn typed<T>(
        &self,
        field: Field,
        read: impl FnOnce(&'a [u8]) -> Option<T>,
        otherwise: &str,
    ) -> Result<Option<T>, Refusal<'static>> {
        match self.field(field) {
            Some(value) => read(value).map(Some).ok_or_else(|| wrong(field, otherwise)),
            None => Ok(None),
        }
    }

    /// Adds the topic as it was sent, cut so that no refusal is larger than a topic may be.
    pub(super) fn about_topic<S: Scan<'a>>(&self, refusal: Refusal<'a>) -> Refusal<'a> {
        let topic = self.field(Field::Topic).and_then(S::text).map(|topic| {
            let mut end = topic.len().min(TOPIC_BYTES_MAX);
            while !topic.is_char_boundary(end) {
                end -= 1;
            }
            match topic {
                Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
                Cow::Owned(mut text) => {
                    text.truncate(end);
                    Cow::Owned(text)
                }
            }
        });
        Refusal { topic, ..refusal }
    }
}

fn wrong(field: Field, what: &str) -> Refusal<'static> {
    Refusal { message: format!("`{}` {what}", field.name()).into(), ..bad_request("") }
}
