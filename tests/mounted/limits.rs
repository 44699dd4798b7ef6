//! Limits of a mounted service, whose host tells it the addresses.

use std::net::IpAddr;

use fanfare::{Broker, Network, PeerAddr, Rate, Service, ServiceBuilder};
use http::header::{HOST, RETRY_AFTER};
use http::{Request, StatusCode};
use serde_json::json;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;

use crate::client::{Client, dial};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

fn builder() -> ServiceBuilder {
    Service::builder(Broker::new()).shards(1)
}

/// Asks for the list of topics as somebody at that address, perhaps through a proxy.
async fn ask(service: &Service, peer: Option<&str>, forwarded_for: Option<&str>) -> StatusCode {
    let mut request = Request::get("/v1/topics").header(HOST, "localhost");
    if let Some(forwarded_for) = forwarded_for {
        request = request.header("x-forwarded-for", forwarded_for);
    }
    let mut request = request.body(String::new()).expect("a request");
    if let Some(peer) = peer {
        request.extensions_mut().insert(PeerAddr(address(peer)));
    }
    let response = service.handle(request).await;
    assert_eq!(response.headers().contains_key(RETRY_AFTER), response.status() == StatusCode::TOO_MANY_REQUESTS);
    response.status()
}

/// The status of a handshake over a connection of that peer.
async fn knock(service: &Service, peer: &str) -> StatusCode {
    let service = service.for_peer(address(peer)).expect("it is no flood");
    match client_async("ws://localhost/ws", dial(&service, 1024)).await {
        Ok((_, response)) => response.status(),
        Err(Error::Http(response)) => response.status(),
        Err(error) => panic!("{error}"),
    }
}

const OK: StatusCode = StatusCode::OK;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

#[tokio::test]
async fn requests_count_for_the_address_that_the_host_tells() {
    let service = builder().commands_per_address(Rate::new(1, 1)).build();
    let (one, other) = (Some("192.0.2.1"), Some("192.0.2.2"));
    assert_eq!(ask(&service, one, None).await, OK);
    assert_eq!(ask(&service, one, None).await, TOO_MANY);
    assert_eq!(ask(&service, other, None).await, OK);
    // Whose address nobody tells, and whose is exempt, is not limited per address.
    for peer in [None, Some("127.0.0.1")] {
        assert_eq!((ask(&service, peer, None).await, ask(&service, peer, None).await), (OK, OK));
    }
    let service = builder().commands_per_address(Rate::new(1, 1)).exempt([network("192.0.2.1")]).build();
    assert_eq!((ask(&service, one, None).await, ask(&service, one, None).await), (OK, OK));
    assert_eq!((ask(&service, Some("::1"), None).await, ask(&service, Some("::1"), None).await), (OK, TOO_MANY));
}

#[tokio::test]
async fn trusted_proxies_are_looked_through() {
    let service = builder().trusted_proxy(network("10.0.0.0/8")).commands_per_address(Rate::new(1, 1)).build();
    let proxy = Some("10.0.0.1");
    assert_eq!(ask(&service, proxy, Some("192.0.2.1")).await, OK);
    assert_eq!(ask(&service, proxy, Some("192.0.2.2, 10.0.0.2")).await, OK);
    assert_eq!(ask(&service, proxy, Some("192.0.2.1")).await, TOO_MANY);
    assert_eq!(ask(&service, Some("192.0.2.3"), Some("192.0.2.1")).await, OK);
}

#[tokio::test]
async fn networks_are_allowed_and_denied() {
    let service = builder().allow(network("192.0.2.0/24")).deny(network("192.0.2.9")).build();
    assert_eq!(ask(&service, Some("192.0.2.1"), None).await, OK);
    assert_eq!(ask(&service, Some("192.0.2.9"), None).await, FORBIDDEN);
    assert_eq!(ask(&service, Some("192.0.3.1"), None).await, FORBIDDEN);
    assert_eq!(ask(&service, None, None).await, FORBIDDEN);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_attempts() {
    let service = builder().connections_per_address_max(1).ipv6_prefix(48).build();
    let open = service.for_peer(address("2001:db8::1")).expect("it is no flood");
    let _client = Client::connect(&open).await;
    assert_eq!(knock(&service, "2001:db8:0:5::1").await, TOO_MANY);
    assert_eq!(knock(&service, "2001:db8:1::1").await, StatusCode::SWITCHING_PROTOCOLS);

    let service = builder().attempts_per_address(Rate::new(1, 2)).build();
    assert_eq!(knock(&service, "192.0.2.1").await, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(knock(&service, "192.0.2.1").await, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(knock(&service, "192.0.2.1").await, TOO_MANY);
    assert!(service.for_peer(address("192.0.2.1")).is_none(), "it has been told often enough");
    assert_eq!(knock(&service, "192.0.2.2").await, StatusCode::SWITCHING_PROTOCOLS);
}

#[tokio::test]
async fn addresses_beyond_the_bound_share_a_meter() {
    let service = builder().meters_max(1).commands_per_address(Rate::new(1, 1)).build();
    assert_eq!(ask(&service, Some("192.0.2.1"), None).await, OK);
    assert_eq!(ask(&service, Some("192.0.2.2"), None).await, OK);
    assert_eq!(ask(&service, Some("192.0.2.3"), None).await, TOO_MANY);
}

#[tokio::test]
async fn rates_hold_for_connections_whose_address_nobody_tells() {
    let once = Rate::new(1, 1);
    let cases: [(&str, ServiceBuilder); 4] = [
        ("command rate exceeded", builder().commands_per_connection(once)),
        ("publish rate exceeded", builder().publishes_per_connection(once)),
        ("byte rate exceeded", builder().bytes_per_connection(once)),
        ("publish rate of that topic exceeded", builder().publishes_per_topic(once)),
    ];
    for (message, builder) in cases {
        let mut client = Client::connect(&builder.refusals_per_connection(None).build()).await;
        let command = json!({"type": "publish", "id": 1, "topic": "a", "data": 1});
        // Both at once: the second has become due only if the machine stands still in between.
        client.send(command.clone()).await;
        client.send(command).await;
        client.expect("published").await;
        assert_eq!(client.expect("error").await["message"], message);
    }
    let mut client =
        Client::connect(&builder().commands_per_connection(once).refusals_per_connection(once).build()).await;
    for _ in 0..3 {
        client.send(json!({"type": "ping"})).await;
    }
    client.expect("pong").await;
    client.expect("error").await;
    client.expect("error").await;
    assert_eq!(client.expect("goodbye").await["code"], 4429);
    client.expect_close(4429).await;
}

#[tokio::test]
async fn connections_of_an_address_share_its_rates() {
    let once = Rate::new(1, 1);
    let cases: [(&str, ServiceBuilder); 2] = [
        ("publish rate exceeded", builder().publishes_per_address(once)),
        ("byte rate exceeded", builder().bytes_per_address(once)),
    ];
    for (message, builder) in cases {
        let service = builder.build().for_peer(address("192.0.2.1")).expect("it is no flood");
        let (mut one, mut other) = (Client::connect(&service).await, Client::connect(&service).await);
        let command = json!({"type": "publish", "id": 1, "topic": "a", "data": 1});
        one.send(command.clone()).await;
        one.expect("published").await;
        other.send(command).await;
        assert_eq!(other.expect("error").await["message"], message);
    }
}
