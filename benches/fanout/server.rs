//! The servers that are compared, and what is sent to each.

use std::process::Command;

use crate::Result;
use crate::support::server::{fanfare, own};
use crate::support::traffic::Traffic;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Fanfare,
    /// The same with messages of a kilobyte,
    Kilobyte,
    /// and these compressed.
    Deflated,
    /// The broker everybody writes.
    Naive,
    /// The same bytes to the same sockets, and no broker.
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Fanfare, Kind::Kilobyte, Kind::Deflated, Kind::Naive, Kind::Floor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Fanfare => "fanfare",
            Kind::Kilobyte => "fanfare, 1 KiB",
            Kind::Deflated => "fanfare, 1 KiB compressed",
            Kind::Naive => "naive",
            Kind::Floor => "floor",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Kind> {
        let named = Kind::ALL.into_iter().find(|kind| kind.option() == name);
        named.ok_or_else(|| format!("unknown server {name}").into())
    }

    /// What `--only` calls it.
    fn option(self) -> &'static str {
        match self {
            Kind::Fanfare => "fanfare",
            Kind::Kilobyte => "kilobyte",
            Kind::Deflated => "deflated",
            Kind::Naive => "naive",
            Kind::Floor => "floor",
        }
    }

    /// What is sent to it.
    pub(crate) fn traffic(self) -> Traffic {
        const PLAIN: Traffic = Traffic { topics: 1, data_bytes: 128, deflate: false, unread_bytes: None };
        match self {
            Kind::Fanfare | Kind::Naive | Kind::Floor => PLAIN,
            Kind::Kilobyte => Traffic { data_bytes: 1024, ..PLAIN },
            Kind::Deflated => Traffic { data_bytes: 1024, deflate: true, ..PLAIN },
        }
    }

    pub(crate) fn command(self) -> Result<Command> {
        match self {
            Kind::Fanfare | Kind::Kilobyte | Kind::Deflated => Ok(fanfare()),
            Kind::Naive | Kind::Floor => own(&format!("--serve-{}", self.option())),
        }
    }
}
