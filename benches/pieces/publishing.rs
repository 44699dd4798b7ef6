//! What a publish passes: permissions, limits, the registry, the ring.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use fanfare::auth::{PermissionClaims, Right};
use fanfare::internals::limits::publishes;
use fanfare::internals::ring::{Entry, Retention, Ring, Seq};
use fanfare::{Broker, Data, Rate};

use super::{Operation, Piece, codec};

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "permission, 200 patterns", each: 1, prepare: permission },
    Piece { name: "limits of a publish", each: 1, prepare: limits },
    Piece { name: "publish in process, handle kept", each: 1, prepare: publish },
    Piece { name: "publish in process, by name", each: 1, prepare: publish_by_name },
    Piece { name: "ring, publish", each: 1, prepare: push },
    Piece { name: "ring, read", each: TURN, prepare: read },
];

/// As many entries as a shard reads at a time.
const TURN: u32 = 64;

fn permission() -> Operation {
    let patterns = (0..200).map(|number| match number % 4 {
        0 => format!("tenant.{number}.rooms.>"),
        1 => format!("tenant.{number}.*.prices"),
        2 => format!("tenant.*.{number}.news"),
        _ => format!("tenant.{number}.orders.new"),
    });
    let claims = PermissionClaims { subscribe: patterns.collect(), ..PermissionClaims::default() };
    let permissions = claims.permissions(Some("ana"));
    Box::new(move || {
        assert!(permissions.allow(Right::Subscribe, black_box("tenant.7.198.news")));
        assert!(!permissions.allow(Right::Subscribe, black_box("tenant.7.199.news")));
    })
}

fn limits() -> Operation {
    let endless = Rate::new(1_000_000_000, 1_000_000_000);
    let mut publish = publishes(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), endless);
    Box::new(move || assert!(publish(black_box(128), black_box("prices.btc"))))
}

fn data() -> Data {
    Data::json(codec::DATA.to_owned()).expect("carriable")
}

fn publish() -> Operation {
    let publisher = Broker::new().publisher("prices.btc").expect("a name");
    let data = data();
    let mut last = 0;
    Box::new(move || {
        let published = publisher.try_publish(black_box(data.clone())).expect("nobody holds it back");
        assert_eq!(published.offset, last + 1);
        last = published.offset;
    })
}

fn publish_by_name() -> Operation {
    let broker = Broker::new();
    let data = data();
    let mut last = 0;
    Box::new(move || {
        let publisher = broker.publisher(black_box("prices.btc")).expect("a name");
        let published = publisher.try_publish(data.clone()).expect("nobody holds it back");
        assert_eq!(published.offset, last + 1);
        last = published.offset;
    })
}

struct Note(Bytes);

impl Entry for Note {
    fn weight(&self) -> usize {
        self.0.len()
    }

    fn at_ms(&self) -> u64 {
        0
    }
}

fn ring() -> Ring<Note> {
    Ring::new(Retention { entries_max: 1024, bytes_max: usize::MAX, age_ms_max: u64::MAX }, 0)
}

fn note() -> Arc<Note> {
    Arc::new(Note(Bytes::from_static(codec::DATA.as_bytes())))
}

fn push() -> Operation {
    let ring = ring();
    Box::new(move || {
        let pushed = ring.push(black_box(note()), || Seq::MAX);
        assert!(pushed.is_ok());
    })
}

fn read() -> Operation {
    let ring = ring();
    let from = ring.newest().next();
    for _ in 0..TURN {
        assert!(ring.push(note(), || Seq::MAX).is_ok());
    }
    Box::new(move || {
        let mut got = 0;
        let read = ring.read(black_box(from), |_, note| {
            black_box(Arc::clone(note));
            got += 1;
            ControlFlow::Continue(())
        });
        assert!(read.is_ok() && got == TURN);
    })
}
