//! Both commands against a server that is played by the test, over a stream in memory.

use std::future::pending;
use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::protocol::Encoding;

use super::super::client::{Client, ClientError};
use super::super::input::LineError;
use super::super::target::Target;
use super::{End, LineFault, PublishError, SubscribeError, follow, publish_lines};

/// The server's end of the conversation.
struct Server(WebSocketStream<DuplexStream>);

impl Server {
    async fn accept(stream: DuplexStream, protocol: &'static str) -> Server {
        // The type of the answer is the library's.
        #[allow(clippy::result_large_err)]
        let choose = move |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], protocol);
            assert_eq!(request.headers()["authorization"], "Bearer secret");
            let chosen = protocol.parse().expect("a header's value");
            response.headers_mut().insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        let socket = accept_hdr_async(stream, choose).await.expect("a handshake");
        let mut server = Server(socket);
        server.send(r#"{"type":"welcome","protocol":1,"heartbeat_ms":25000,"max_message_bytes":200}"#).await;
        server
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("the client reads");
    }

    async fn expect(&mut self, text: &str) {
        match self.0.next().await {
            Some(Ok(Message::Text(came))) => assert_eq!(came.as_str(), text),
            other => panic!("expected {text}, got {other:?}"),
        }
    }

    async fn expect_close(&mut self) {
        match self.0.next().await {
            Some(Ok(Message::Close(_))) => {}
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

async fn pair(encoding: Encoding) -> (Client<DuplexStream>, Server) {
    let (near, far) = tokio::io::duplex(4096);
    let target = Target::parse("ws://127.0.0.1:7070/ws").expect("right");
    let (client, server) = tokio::join!(
        Client::handshake(near, &target, Some("secret"), encoding),
        Server::accept(far, encoding.subprotocol()),
    );
    (client.expect("welcomed"), server)
}

fn lines(lines: &[&str]) -> mpsc::Receiver<Result<String, LineError>> {
    let (sender, receiver) = mpsc::channel(lines.len().max(1));
    for line in lines {
        sender.try_send(Ok((*line).to_owned())).expect("room for all");
    }
    receiver
}

fn published(id: u64) -> String {
    format!(r#"{{"type":"published","id":{id},"topic":"t","epoch":"1","offset":{id}}}"#)
}

fn publish(id: u64, data: &str) -> String {
    format!(r#"{{"type":"publish","id":{id},"topic":"t","data":{data}}}"#)
}

#[tokio::test(start_paused = true)]
async fn lines_are_on_their_way_together_and_all_are_waited_for() {
    let (client, mut server) = pair(Encoding::Json).await;
    let play = async {
        server.expect(&publish(1, r#"{"a":1}"#)).await;
        server.expect(&publish(2, r#""hello""#)).await;
        server.expect(&publish(3, r#""""#)).await;
        for id in [2, 1, 3] {
            server.send(&published(id)).await;
        }
        server.expect_close().await;
    };
    let (result, ()) = tokio::join!(publish_lines(client, "t", lines(&[r#"{"a":1}"#, "hello", ""])), play);
    assert!(result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn at_most_a_window_of_lines_is_on_its_way() {
    let (client, mut server) = pair(Encoding::Json).await;
    let all: Vec<String> = (1..=70).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let play = async {
        for n in 1..=64 {
            server.expect(&publish(n, &n.to_string())).await;
        }
        assert!(futures_util::FutureExt::now_or_never(server.0.next()).is_none());
        for n in 1..=70 {
            server.send(&published(n)).await;
            if n <= 6 {
                server.expect(&publish(n + 64, &(n + 64).to_string())).await;
            }
        }
        server.expect_close().await;
    };
    let (result, ()) = tokio::join!(publish_lines(client, "t", lines(&all)), play);
    assert!(result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_first_line_that_is_refused_ends_it() {
    let (client, mut server) = pair(Encoding::Json).await;
    let play = async {
        server.expect(&publish(1, "1")).await;
        server.expect(&publish(2, "1e400")).await;
        server.send(&published(1)).await;
        server.send(r#"{"type":"error","id":2,"code":"bad_data","message":"out of range"}"#).await;
    };
    let (result, ()) = tokio::join!(publish_lines(client, "t", lines(&["1", "1e400"])), play);
    let error = result.expect_err("refused");
    assert_eq!(error.to_string(), "line 2: bad_data: out of range");
}

#[tokio::test(start_paused = true)]
async fn lines_refused_for_their_rate_are_sent_again_in_order() {
    let (client, mut server) = pair(Encoding::Json).await;
    let play = async {
        for n in 1..=3 {
            server.expect(&publish(n, &n.to_string())).await;
        }
        server.send(&published(1)).await;
        // The later one first: the order in which they are sent again is that of the lines.
        for n in [3, 2] {
            server
                .send(&format!(
                    r#"{{"type":"error","id":{n},"code":"rate_limited","message":"","retry_after_ms":120}}"#
                ))
                .await;
        }
        let asked = tokio::time::Instant::now();
        server.expect(&publish(2, "2")).await;
        assert!(asked.elapsed().as_millis() >= 120);
        assert!(futures_util::FutureExt::now_or_never(server.0.next()).is_none());
        server.send(&published(2)).await;
        server.expect(&publish(3, "3")).await;
        server.send(&published(3)).await;
        server.expect_close().await;
    };
    let (result, ()) = tokio::join!(publish_lines(client, "t", lines(&["1", "2", "3"])), play);
    assert!(result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn patience_with_one_line_has_an_end() {
    let (client, mut server) = pair(Encoding::Json).await;
    let play = async {
        while let Some(Ok(Message::Text(_))) = server.0.next().await {
            server
                .send(
                    r#"{"type":"error","id":1,"code":"overloaded","message":"too many topics","retry_after_ms":5000}"#,
                )
                .await;
        }
    };
    let start = tokio::time::Instant::now();
    let result = tokio::select! {
        result = publish_lines(client, "t", lines(&["1"])) => result,
        () = play => panic!("the server ended first"),
    };
    assert_eq!(result.expect_err("refused").to_string(), "line 1: overloaded: too many topics");
    assert!((60..=70).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_the_server_cannot_take_is_not_sent() {
    let (client, _server) = pair(Encoding::Json).await;
    let long = "x".repeat(200);
    let result = publish_lines(client, "t", lines(&[&long])).await;
    assert!(matches!(result, Err(PublishError::Line(1, LineFault::TooLong(247, 200)))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn messagepack_carries_binary_both_ways() {
    let (client, mut server) = pair(Encoding::MsgPack).await;
    let play = async {
        let Some(Ok(Message::Binary(bytes))) = server.0.next().await else {
            panic!("no binary frame");
        };
        let expected = b"\x84\xa4type\xa7publish\xa2id\x01\xa5topic\xa1t\xa4data\x81\xa1a\xc4\x01\xff";
        assert_eq!(&bytes[..], &expected[..]);
        server.0.send(Message::binary(&b"\x82\xa4type\xa9published\xa2id\x01"[..])).await.expect("the client reads");
        server.expect_close().await;
    };
    let (result, ()) = tokio::join!(publish_lines(client, "t", lines(&[r#"{"a":{"$bin":"/w=="}}"#])), play);
    assert!(result.is_ok(), "{result:?}");

    let (client, mut server) = pair(Encoding::MsgPack).await;
    let play = async {
        let Some(Ok(Message::Binary(bytes))) = server.0.next().await else {
            panic!("no binary frame");
        };
        assert_eq!(&bytes[..], b"\x83\xa4type\xa9subscribe\xa2id\x00\xa6topics\x92\xa1a\xa3b.*");
        let message = b"\x84\xa4type\xa7message\xa5topic\xa1a\xa6offset\x01\xa4data\xc4\x01\xff";
        server.0.send(Message::binary(&message[..])).await.expect("the client reads");
        server.0.close(None).await.expect("the client reads");
    };
    let mut out = Vec::new();
    let topics = ["a".to_owned(), "b.*".to_owned()];
    let (_, ()) = tokio::join!(follow(client, &topics, &mut out, pending()), play);
    let shown = String::from_utf8(out).expect("text");
    assert_eq!(shown, "{\"type\":\"message\",\"topic\":\"a\",\"offset\":1,\"data\":{\"$bin\":\"/w==\"}}\n");
}

#[tokio::test(start_paused = true)]
async fn messages_and_gaps_are_lines_and_the_end_has_a_reason() {
    let (client, mut server) = pair(Encoding::Json).await;
    let a = ["a".to_owned()];
    let play = async {
        server.expect(r#"{"type":"subscribe","id":0,"topics":["a"]}"#).await;
        server.send(r#"{"type":"subscribed","id":0,"topic":"a","epoch":"1","offset":0}"#).await;
        server.send("{\"type\":\"message\",\"topic\":\"a\",\"offset\":1,\"data\":{\n\"b\":1}}").await;
        server.send(r#"{"type":"gap","topic":"a","epoch":"1","from":2,"to":3,"reason":"slow"}"#).await;
        server.send(r#"{"type":"goodbye","code":1012,"reason":"restart","reconnect_ms":5}"#).await;
        let close = CloseFrame { code: 1012.into(), reason: "".into() };
        server.0.close(Some(close)).await.expect("the client reads");
    };
    let mut out = Vec::new();
    let (result, ()) = tokio::join!(follow(client, &a, &mut out, pending()), play);
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "{\"type\":\"message\",\"topic\":\"a\",\"offset\":1,\"data\":{ \"b\":1}}\n\
         {\"type\":\"gap\",\"topic\":\"a\",\"epoch\":\"1\",\"from\":2,\"to\":3,\"reason\":\"slow\"}\n"
    );
    let error = result.expect_err("the server closed");
    assert_eq!(error.to_string(), "the server closed the connection (1012): restart");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_refused_ends_it() {
    let (client, mut server) = pair(Encoding::Json).await;
    let a = ["a..b".to_owned()];
    let play = async {
        server.expect(r#"{"type":"subscribe","id":0,"topics":["a..b"]}"#).await;
        server
            .send(r#"{"type":"error","id":0,"topic":"a..b","code":"bad_topic","message":"a segment is empty"}"#)
            .await;
    };
    let mut out = Vec::new();
    let (result, ()) = tokio::join!(follow(client, &a, &mut out, pending()), play);
    assert_eq!(result.expect_err("refused").to_string(), "a..b: bad_topic: a segment is empty");
}

#[tokio::test(start_paused = true)]
async fn an_output_that_nobody_reads_ends_it_quietly() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (client, mut server) = pair(Encoding::Json).await;
    let a = ["a".to_owned()];
    let play = async {
        server.expect(r#"{"type":"subscribe","id":0,"topics":["a"]}"#).await;
        server.send(r#"{"type":"message","topic":"a","offset":1,"data":1}"#).await;
        server.expect_close().await;
    };
    let mut out = Closed;
    let (result, ()) = tokio::join!(follow(client, &a, &mut out, pending()), play);
    assert!(matches!(result, Ok(End::NobodyReads)));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_says_farewell() {
    let (client, mut server) = pair(Encoding::Json).await;
    let a = ["a".to_owned()];
    let play = async {
        server.expect(r#"{"type":"subscribe","id":0,"topics":["a"]}"#).await;
        server.expect_close().await;
    };
    let (interrupt, interrupted) = tokio::sync::oneshot::channel::<()>();
    let mut out = Vec::new();
    let interrupted = async {
        let _ = interrupted.await;
    };
    drop(interrupt);
    let (result, ()) = tokio::join!(follow(client, &a, &mut out, interrupted), play);
    assert!(matches!(result, Ok(End::Interrupted)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_given_up() {
    let (client, mut server) = pair(Encoding::Json).await;
    let a = ["a".to_owned()];
    let mut out = Vec::new();
    let result = follow(client, &a, &mut out, pending()).await;
    assert!(matches!(
        result,
        Err(SubscribeError::Connection(ClientError::Silent(after))) if after.as_secs() == 45
    ));
    server.expect(r#"{"type":"subscribe","id":0,"topics":["a"]}"#).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_handshake_names_status_code_and_reason() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (near, mut far) = tokio::io::duplex(4096);
    let target = Target::parse("http://127.0.0.1:7070").expect("right");
    let play = async {
        let mut head = [0; 1024];
        let _ = far.read(&mut head).await.expect("a request");
        let body = r#"{"error":{"code":"overloaded","message":"full"}}"#;
        let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 48\r\n\r\n";
        far.write_all(format!("{head}{body}").as_bytes()).await.expect("the client reads");
    };
    let (result, ()) = tokio::join!(Client::handshake(near, &target, None, Encoding::Json), play);
    assert_eq!(
        result.expect_err("refused").to_string(),
        "ws://127.0.0.1:7070/ws answered 503 Service Unavailable: overloaded: full"
    );
}
