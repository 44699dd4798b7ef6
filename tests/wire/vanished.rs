//! Clients whose machine or cable is gone: no end and no reset comes from them, and nothing is acknowledged.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use socket2::{SockFilter, SockRef};

use crate::client::Client;
use crate::http::{get, publish};
use crate::lifecycle::until;
use crate::raw::{HANDSHAKE, TEXT, frame};
use crate::server::Server;

/// A connection that has asked for something and has been sent the beginning of an answer.
fn connection(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
    stream.write_all(request.as_bytes()).expect("the server takes a request");
    stream.read_exact(&mut [0; 12]).expect("an answer");
    stream
}

/// From now on the kernel drops whatever comes for this socket, before it acknowledges any of it.
fn vanish(stream: &TcpStream) {
    /// `BPF_RET | BPF_K`: keep that many bytes of a packet.
    const RETURN: u16 = 0x06;
    SockRef::from(stream).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).expect("a socket takes a filter");
}

fn streams(server: &Server) -> u64 {
    let metrics = get(server, "/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("fanfare_event_streams "));
    line.expect("a figure").parse().expect("a number")
}

#[test]
fn an_event_stream_ends_whose_client_has_vanished() {
    // What is not acknowledged is a comment that breaks the silence, or a message where there is never silence.
    for (heartbeat, published) in [("500", 0), ("3600000", 1)] {
        let server = Server::with(&[("keep_alive.heartbeat_ms", heartbeat), ("keep_alive.timeout_ms", "1000")]);
        let request = "GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let [stays, vanishes] = [connection(&server, request), connection(&server, request)];
        assert_eq!(streams(&server), 2);
        vanish(&vanishes);
        for _ in 0..published {
            assert_eq!(publish(&server, &json!({"topic": "a", "data": 1})).status, 200);
        }
        until("a stream stays whose client has vanished", || streams(&server) == 1);
        drop((stays, vanishes));
    }
}

#[test]
fn a_member_has_left_that_has_vanished() {
    let server = Server::with(&[
        ("keep_alive.heartbeat_ms", "500"),
        // So long that whoever is alive answers on a loaded machine too.
        ("keep_alive.timeout_ms", "4000"),
        ("presence.grace_ms", "0"),
    ]);
    let join = r#"{"type":"subscribe","topic":"room","presence":true}"#;
    let mut stays = Client::json(&server);
    stays.text(join);
    assert_eq!([stays.recv(), stays.recv()].map(|event| event["type"].clone()), ["subscribed", "presence"]);
    let mut vanishes = connection(&server, HANDSHAKE);
    vanishes.write_all(&frame(TEXT, join.as_bytes())).expect("the server takes a command");
    let joined = stays.recv();
    vanish(&vanishes);
    let left = stays.recv();
    assert_eq!([&joined["type"], &left["type"]], ["presence_diff"; 2]);
    assert_eq!(left["left"], json!([{"connection": joined["joined"][0]["connection"]}]));
}
