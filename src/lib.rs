//! fanfare is an embeddable pub/sub message broker over WebSockets.
//!
//! A service makes a [`Broker`], mounts a [`Service`] on its own hyper or axum server, and publishes
//! with a method call; browsers and backends subscribe over WebSockets, in JSON or MessagePack. The
//! `fanfare` command runs the same code as a server.
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fanfare::{Broker, Service};
//!
//! let broker = Broker::new();
//! let app = axum::Router::new().nest_service("/events", Service::new(broker.clone()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! tokio::spawn(async move { axum::serve(listener, app).await });
//!
//! broker.publish("news", &serde_json::json!({"hello": 1})).await?;
//! # Ok(()) }
//! ```
//!
//! Per topic messages are numbered, and nobody misses one in silence: a subscriber that is too slow
//! for what its topic retains is told what was left out. See [`Subscription`] for the in-process side;
//! `docs/PROTOCOL.md` has the wire's.

pub mod auth;
mod broker;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "server")]
mod config;
#[cfg(test)]
mod corpora;
mod fanout;
mod gate;
mod http;
mod limits;
mod protocol;
mod ring;
#[cfg(feature = "server")]
mod server;
mod session;
#[cfg(test)]
mod simulation;
#[cfg(feature = "store")]
mod store;
mod sync;
pub mod ws;

pub use broker::{
    Broker, Builder, Delivery, Gap, History, HistoryError, Overflow, PublishError, PublishOptions, Published,
    Publisher, Received, SubscribeError, Subscription, TopicFilter, TopicRule, TryPublishError, Typed, TypedDelivery,
};
pub use http::{Body, Service, ServiceBuilder};
pub use limits::{Network, NetworkError, PeerAddr, Rate, RateError};
pub use protocol::data::TypeError;
pub use protocol::{Data, DataError, Encoding, Epoch, Position, Recovery, RecoveryFailure, TopicError};
#[cfg(feature = "store")]
pub use store::{Restored, Store, StoreError};

/// Parts that benches and fuzz targets reach. No promise is made about them.
#[doc(hidden)]
pub mod internals {
    pub mod broker {
        #[cfg(any(test, fuzzing))]
        pub use crate::broker::fuzz::fuzz_ops;
    }
    pub mod limits {
        #[cfg(any(test, fuzzing))]
        pub use crate::limits::fuzz::{forwarded, proxy_protocol};
        pub use crate::limits::{attempts, publishes};
    }
    pub mod protocol {
        pub use crate::protocol::*;
    }
    pub mod ring {
        pub use crate::ring::*;
    }
    pub mod ws {
        pub use crate::ws::gated;
    }
}

#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
mod embedding {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
