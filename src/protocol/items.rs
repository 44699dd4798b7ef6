//! The topics of a `subscribe` or `unsubscribe`, and the positions to replay from.

use super::command::ItemsKind;
use super::decode::bad_request;
use super::envelope::{Envelope, Field};
use super::json::{self, Json};
use super::msgpack::MsgPack;
use super::scan::{Key, Scan};
use super::{Encoding, Epoch, Item, Items, Refusal, Since};

/// The `topic` or the `topics` of a command, and whether it is the latter.
pub(super) fn items<'a, S: Scan<'a>>(envelope: &Envelope<'a>) -> Result<(Items<'a>, bool), Refusal<'a>> {
    let position = [envelope.field(Field::Since), envelope.field(Field::Last)];
    let Some(topics) = envelope.field(Field::Topics) else {
        let topic = envelope.required_text::<S>(Field::Topic)?;
        let (since, last) = replay::<S>(position).map_err(bad_request)?;
        return Ok((Items(ItemsKind::One(Some(Item { topic, since, last }))), false));
    };
    if envelope.field(Field::Topic).is_some() {
        return Err(bad_request("`topic` and `topics` exclude each other"));
    }
    if position != [None, None] {
        return Err(bad_request("`since` and `last` belong inside the items of `topics`"));
    }
    let Some(list) = ItemList::open::<S>(topics) else {
        return Err(bad_request("`topics` must be a list"));
    };
    // All of it is checked now; it is read again, item by item, when it is carried out.
    let mut scan = S::new(topics);
    let mut count = 0;
    if let Some(mut open) = scan.list() {
        while let Ok(true) = scan.item(&mut open)
            && let Ok(value) = scan.value()
        {
            item::<S>(value.bytes).map_err(bad_request)?;
            count += 1;
        }
    }
    if count == 0 {
        return Err(bad_request("`topics` is empty"));
    }
    Ok((Items(ItemsKind::List(list)), true))
}

/// What is left of a checked list of topics.
#[derive(Debug, Clone)]
pub(super) enum ItemList<'a> {
    Json(Json<'a>, json::Open),
    MsgPack(MsgPack<'a>, u32),
}

impl<'a> ItemList<'a> {
    fn open<S: Scan<'a>>(list: &'a [u8]) -> Option<ItemList<'a>> {
        match S::ENCODING {
            Encoding::Json => {
                let mut scan = Json::new(list);
                scan.list().map(|open| ItemList::Json(scan, open))
            }
            Encoding::MsgPack => {
                let mut scan = MsgPack::new(list);
                scan.list().map(|left| ItemList::MsgPack(scan, left))
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Item<'a>> {
        fn step<'a, S: Scan<'a>>(scan: &mut S, open: &mut S::Open) -> Option<Item<'a>> {
            if scan.item(open).ok()? { item::<S>(scan.value().ok()?.bytes).ok() } else { None }
        }
        match self {
            ItemList::Json(scan, open) => step(scan, open),
            ItemList::MsgPack(scan, left) => step(scan, left),
        }
    }
}

/// Reads one item of `topics`: a name or pattern, or a map around it.
fn item<'a, S: Scan<'a>>(value: &'a [u8]) -> Result<Item<'a>, &'static str> {
    if let Some(topic) = S::text(value) {
        return Ok(Item { topic, since: None, last: None });
    }
    let [topic, since, last] = fields::<S, 3>(value, ["topic", "since", "last"])?;
    let topic = topic.and_then(S::text).ok_or("an item of `topics` needs a `topic`, a string")?;
    let (since, last) = replay::<S>([since, last])?;
    Ok(Item { topic, since, last })
}

/// Reads `since` and `last`, raw and in this order.
fn replay<'a, S: Scan<'a>>(
    [since_value, last]: [Option<&'a [u8]>; 2],
) -> Result<(Option<Since>, Option<u64>), &'static str> {
    let since = since_value.map(since::<S>).transpose()?;
    let last = match last {
        Some(value) => Some(S::uint(value).ok_or("`last` must be an integer, 0 or more")?),
        None => None,
    };
    Ok((since, last))
}

/// Reads a position that a client remembers.
pub(super) fn since<'a, S: Scan<'a>>(value: &'a [u8]) -> Result<Since, &'static str> {
    let [epoch, offset] = fields::<S, 2>(value, ["epoch", "offset"])?;
    let epoch = epoch.and_then(S::text).ok_or("`since` needs an `epoch`, a string")?;
    let offset = offset.and_then(S::uint).ok_or("`since` needs an `offset`, an integer, 0 or more")?;
    Ok(Since { epoch: Epoch::parse(&epoch), offset })
}

/// Picks these fields out of a small map inside an envelope.
fn fields<'a, S: Scan<'a>, const N: usize>(
    map: &'a [u8],
    names: [&str; N],
) -> Result<[Option<&'a [u8]>; N], &'static str> {
    let mut scan = S::new(map);
    let mut open = scan.map().ok_or("a position or an item of `topics` has the wrong type")?;
    let mut picked = [None; N];
    loop {
        let key = match scan.key(&mut open) {
            Ok(Some(Key::Text(key))) => key,
            Ok(Some(Key::Other)) => return Err("a key is not a string"),
            Ok(None) => return Ok(picked),
            // Out of reach, for the envelope around was read whole.
            Err(_) => return Err("malformed"),
        };
        let value = scan.value().map_err(|_| "malformed")?;
        if let Some(place) = names.iter().position(|name| name.as_bytes() == &*key)
            && picked[place].replace(value.bytes).is_some()
        {
            return Err("a key stands twice in a position or an item of `topics`");
        }
    }
}
