//! From frames and bodies to commands, for both encodings at once.
//!
//! An envelope is read in two steps. First its known fields are collected as raw slices, so that
//! whatever else is wrong, a readable `id` can be echoed. Then the command of that type takes the
//! fields it knows. A batch is checked whole before its first command comes out.

use std::borrow::Cow;
use std::vec;

use super::envelope::{Envelope, Field};
use super::items::{items, since};
use super::json::Json;
use super::msgpack::MsgPack;
use super::scan::{Malformed, Scan};
use super::{
    Auth, Command, Encoding, ErrorCode, History, Presence, Publish, PublishBody, Refusal, Request, Resume, Subscribe,
    Unsubscribe,
};

const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

/// Messages a second that a subscription may ask for at most: beyond it nothing would be held back.
const MAX_RATE_MAX: u64 = 1_000;

/// What bounds commands, apart from the size of their message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Commands of one batch, messages of one HTTP body.
    pub batch_items_max: usize,
    /// Bytes of the `key` of a publish.
    pub key_bytes_max: usize,
    /// Bytes of the `member` of a subscribe, as sent.
    pub member_bytes_max: usize,
}

/// Decodes a text frame.
#[must_use]
pub fn decode_json<'a>(text: &'a str, limits: &DecodeLimits) -> Requests<'a> {
    Requests::decode::<Json<'a>>(Encoding::Json, text.as_bytes(), limits)
}

/// Decodes a binary frame.
#[must_use]
pub fn decode_msgpack<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Requests<'a> {
    Requests::decode::<MsgPack<'a>>(Encoding::MsgPack, bytes, limits)
}

/// The commands of one frame, in order. A malformed frame is a single refusal.
#[derive(Debug, Clone)]
pub struct Requests<'a> {
    pending: Pending<'a>,
}

#[derive(Debug, Clone)]
enum Pending<'a> {
    One(Option<Result<Request<'a>, Refusal<'a>>>),
    Batch {
        encoding: Encoding,
        limits: DecodeLimits,
        index: u32,
        /// The exact bytes of each item; at most `batch_items_max`.
        items: vec::IntoIter<&'a [u8]>,
    },
}

impl<'a> Iterator for Requests<'a> {
    type Item = Result<Request<'a>, Refusal<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.pending {
            Pending::One(request) => request.take(),
            Pending::Batch { encoding, limits, index, items } => {
                let item = items.next()?;
                let place = *index;
                *index += 1;
                Some(match encoding {
                    Encoding::Json => batch_item::<Json<'a>>(item, place, limits),
                    Encoding::MsgPack => batch_item::<MsgPack<'a>>(item, place, limits),
                })
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.pending {
            Pending::One(request) => usize::from(request.is_some()),
            Pending::Batch { items, .. } => items.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Requests<'_> {}

impl<'a> Requests<'a> {
    fn decode<S: Scan<'a>>(encoding: Encoding, frame: &'a [u8], limits: &DecodeLimits) -> Self {
        let mut scan = S::new(frame);
        let pending = if let Some(open) = scan.map() {
            let mut envelope = Envelope::default();
            let whole = envelope.read(&mut scan, open).and_then(|()| scan.end());
            Pending::One(Some(match whole {
                Ok(()) => request::<S>(&envelope, None, limits),
                Err(malformed) => Err(not_well_formed(encoding, malformed)),
            }))
        } else {
            match batch(&mut scan, encoding, limits) {
                Ok(items) => Pending::Batch { encoding, limits: *limits, index: 0, items: items.into_iter() },
                Err(refusal) => Pending::One(Some(Err(refusal))),
            }
        };
        Requests { pending }
    }
}

/// Decodes the body of `POST /v1/publish`.
///
/// # Errors
///
/// A [`Refusal`] of the whole body. What is wrong with one of several messages stands in its place
/// in [`PublishBody::Many`].
pub fn decode_publish_body<'a>(
    encoding: Encoding,
    body: &'a [u8],
    limits: &DecodeLimits,
) -> Result<PublishBody<'a>, Refusal<'a>> {
    match encoding {
        Encoding::Json => {
            if let Err(error) = std::str::from_utf8(body) {
                return Err(not_well_formed(encoding, Malformed { at: error.valid_up_to() }));
            }
            publish_body::<Json<'a>>(encoding, body, limits)
        }
        Encoding::MsgPack => publish_body::<MsgPack<'a>>(encoding, body, limits),
    }
}

fn publish_body<'a, S: Scan<'a>>(
    encoding: Encoding,
    body: &'a [u8],
    limits: &DecodeLimits,
) -> Result<PublishBody<'a>, Refusal<'a>> {
    let mut scan = S::new(body);
    let Some(open) = scan.map() else {
        return Err(bad_request("the body is not a map"));
    };
    let mut envelope = Envelope::default();
    envelope
        .read(&mut scan, open)
        .and_then(|()| scan.end())
        .map_err(|malformed| not_well_formed(encoding, malformed))?;
    envelope.check_form()?;
    let Some(messages) = envelope.field(Field::Messages) else {
        return publish::<S>(&envelope, limits).map(PublishBody::One);
    };
    if envelope.field(Field::Topic).is_some() || envelope.field(Field::Data).is_some() {
        return Err(bad_request("`messages` excludes `topic` and `data`"));
    }
    let items = batch(&mut S::new(messages), encoding, limits)?;
    let outcomes = items.into_iter().enumerate().map(|(index, item)| {
        let index = u32::try_from(index).ok();
        let mut scan = S::new(item);
        let open = scan.map().ok_or_else(|| bad_request("the message is not a map"));
        let outcome = open.and_then(|open| {
            let mut envelope = Envelope::default();
            envelope.read(&mut scan, open).map_err(|malformed| not_well_formed(encoding, malformed))?;
            envelope.check_form()?;
            publish::<S>(&envelope, limits)
        });
        outcome.map_err(|refusal| Refusal { index, ..refusal })
    });
    Ok(PublishBody::Many(outcomes.collect()))
}

/// Checks a list in full and takes it apart.
fn batch<'a, S: Scan<'a>>(
    scan: &mut S,
    encoding: Encoding,
    limits: &DecodeLimits,
) -> Result<Vec<&'a [u8]>, Refusal<'a>> {
    let malformed = |malformed| not_well_formed(encoding, malformed);
    let Some(mut open) = scan.list() else {
        scan.value().and_then(|_| scan.end()).map_err(malformed)?;
        return Err(bad_request("neither a map nor a list of maps"));
    };
    let mut items = Vec::new();
    let mut count = 0;
    while scan.item(&mut open).map_err(malformed)? {
        let item = scan.value().map_err(malformed)?;
        count += 1;
        if count <= limits.batch_items_max {
            items.push(item.bytes);
        }
    }
    scan.end().map_err(malformed)?;
    if count == 0 {
        return Err(bad_request("the list is empty"));
    }
    if count > limits.batch_items_max {
        return Err(Refusal {
            code: ErrorCode::TooLarge,
            message: format!("{count} items, more than {}", limits.batch_items_max).into(),
            malformed: false,
            ..bad_request("")
        });
    }
    Ok(items)
}

fn batch_item<'a, S: Scan<'a>>(item: &'a [u8], index: u32, limits: &DecodeLimits) -> Result<Request<'a>, Refusal<'a>> {
    let mut scan = S::new(item);
    let Some(open) = scan.map() else {
        return Err(Refusal { index: Some(index), ..bad_request("the command is not a map") });
    };
    let mut envelope = Envelope::default();
    match envelope.read(&mut scan, open) {
        Ok(()) => request::<S>(&envelope, Some(index), limits),
        // Out of reach, for the batch was checked whole.
        Err(_) => Err(Refusal { index: Some(index), ..bad_request("the command is malformed") }),
    }
}

fn request<'a, S: Scan<'a>>(
    envelope: &Envelope<'a>,
    index: Option<u32>,
    limits: &DecodeLimits,
) -> Result<Request<'a>, Refusal<'a>> {
    let (id, id_is_wrong) = match envelope.id::<S>() {
        Ok(id) => (id, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let index = index.filter(|_| id.is_none());
    let command = match id_is_wrong {
        Some(refusal) => Err(refusal),
        None => envelope.check_form().and_then(|()| command::<S>(envelope, limits)),
    };
    match command {
        Ok(command) => Ok(Request { id, index, command }),
        Err(refusal) => Err(Refusal { id, index, ..refusal }),
    }
}

fn command<'a, S: Scan<'a>>(envelope: &Envelope<'a>, limits: &DecodeLimits) -> Result<Command<'a>, Refusal<'a>> {
    let Some(kind) = envelope.field(Field::Type) else {
        return Err(bad_request("`type` is missing"));
    };
    let Some(kind) = S::text(kind) else {
        return Err(bad_request("`type` must be a string"));
    };
    let command = match &*kind {
        "publish" => publish_command::<S>(envelope, limits),
        "subscribe" => subscribe::<S>(envelope, limits).map(Command::Subscribe),
        "unsubscribe" => {
            let (items, list) = items::<S>(envelope)?;
            Ok(Command::Unsubscribe(Unsubscribe { items, list }))
        }
        "presence" => envelope.required_text::<S>(Field::Topic).map(|topic| Command::Presence(Presence { topic })),
        "history" => history::<S>(envelope).map(Command::History),
        "auth" => envelope.required_text::<S>(Field::Token).map(|token| Command::Auth(Auth { token })),
        "resume" => envelope.required_text::<S>(Field::Resume).map(|secret| Command::Resume(Resume { secret })),
        "ping" => Ok(Command::Ping),
        _ => {
            return Err(Refusal {
                code: ErrorCode::UnknownType,
                message: Cow::Borrowed("no command has this `type`"),
                malformed: false,
                ..bad_request("")
            });
        }
    };
    command.map_err(|refusal| envelope.about_topic::<S>(refusal))
}

fn publish_command<'a, S: Scan<'a>>(
    envelope: &Envelope<'a>,
    limits: &DecodeLimits,
) -> Result<Command<'a>, Refusal<'a>> {
    let echo = envelope.boolean::<S>(Field::Echo)?.unwrap_or(true);
    let publish = publish::<S>(envelope, limits)?;
    Ok(Command::Publish(Publish { echo, ..publish }))
}

fn publish<'a, S: Scan<'a>>(envelope: &Envelope<'a>, limits: &DecodeLimits) -> Result<Publish<'a>, Refusal<'a>> {
    let topic = envelope.required_text::<S>(Field::Topic)?;
    let refused = |refusal| envelope.about_topic::<S>(refusal);
    let key = envelope.text::<S>(Field::Key).map_err(refused)?;
    let idempotency_key = envelope.text::<S>(Field::IdempotencyKey).map_err(refused)?;
    let Some(data) = envelope.field(Field::Data) else {
        return Err(refused(bad_request("`data` is missing")));
    };
    if idempotency_key.as_ref().is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
        return Err(refused(bad_request("`idempotency_key` has more than 64 bytes")));
    }
    if let Some(key) = &key
        && key.len() > limits.key_bytes_max
    {
        return Err(refused(too_large(Field::Key, key.len(), limits.key_bytes_max)));
    }
    if let Some(flaw) = envelope.data_flaw() {
        return Err(refused(Refusal {
            code: ErrorCode::BadData,
            message: format!("`data`: {} at byte {}", flaw.fault, flaw.at).into(),
            malformed: false,
            ..bad_request("")
        }));
    }
    let receivers = envelope.boolean::<S>(Field::Receivers).map_err(refused)?.unwrap_or(false);
    Ok(Publish { topic, data, echo: true, key, idempotency_key, receivers })
}

fn subscribe<'a, S: Scan<'a>>(envelope: &Envelope<'a>, limits: &DecodeLimits) -> Result<Subscribe<'a>, Refusal<'a>> {
    let (items, list) = items::<S>(envelope)?;
    let presence = envelope.boolean::<S>(Field::Presence)?.unwrap_or(false);
    let member = envelope.field(Field::Member);
    if let Some(member) = member {
        if let Some(flaw) = envelope.member_flaw() {
            let message = format!("`member`: {} at byte {}", flaw.fault, flaw.at);
            return Err(Refusal { message: message.into(), ..bad_request("") });
        }
        if member.len() > limits.member_bytes_max {
            return Err(too_large(Field::Member, member.len(), limits.member_bytes_max));
        }
    }
    let max_rate = envelope.uint::<S>(Field::MaxRate)?;
    if max_rate.is_some_and(|rate| !(1..=MAX_RATE_MAX).contains(&rate)) {
        return Err(bad_request("`max_rate` must be an integer from 1 to 1000"));
    }
    Ok(Subscribe { items, presence, member, max_rate, list })
}

fn history<'a, S: Scan<'a>>(envelope: &Envelope<'a>) -> Result<History<'a>, Refusal<'a>> {
    let topic = envelope.required_text::<S>(Field::Topic)?;
    let since = match envelope.field(Field::Since) {
        Some(value) => Some(since::<S>(value).map_err(bad_request)?),
        None => None,
    };
    Ok(History { topic, since, limit: envelope.uint::<S>(Field::Limit)? })
}

fn too_large(field: Field, bytes: usize, bytes_max: usize) -> Refusal<'static> {
    Refusal {
        code: ErrorCode::TooLarge,
        message: format!("`{}` has {bytes} bytes, more than {bytes_max}", field.name()).into(),
        malformed: false,
        ..bad_request("")
    }
}

fn not_well_formed(encoding: Encoding, malformed: Malformed) -> Refusal<'static> {
    let encoding = match encoding {
        Encoding::Json => "JSON",
        Encoding::MsgPack => "MessagePack",
    };
    let message = format!("not one well-formed {encoding} value, at byte {}", malformed.at);
    Refusal { message: message.into(), ..bad_request("") }
}

/// A refusal for form, about nothing in particular yet.
pub(super) fn bad_request(message: &'static str) -> Refusal<'static> {
    Refusal {
        id: None,
        index: None,
        topic: None,
        code: ErrorCode::BadRequest,
        message: Cow::Borrowed(message),
        malformed: true,
    }
}
