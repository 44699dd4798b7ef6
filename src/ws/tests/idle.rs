//! When a reader says that it holds nothing, and what dropping its futures does.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, duplex};

use super::super::{Incoming, ReadError, Reader};
use super::client::{frame, header};
use super::{LIMITS, text};

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// After `stream`, which nothing has followed yet, and `events`, the reader is idle or waits.
async fn check(stream: &[u8], events: &[Incoming], idles: bool) {
    let (mut client, server) = duplex(1 << 20);
    let mut reader = Reader::new(server, LIMITS);
    client.write_all(stream).await.unwrap();
    for event in events {
        assert_eq!(reader.next().await.unwrap(), *event);
    }
    match poll_once(reader.next()) {
        Poll::Ready(Ok(Incoming::Idle)) => assert!(idles),
        Poll::Pending => assert!(!idles),
        Poll::Ready(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reader_idles_between_messages() {
    check(b"", &[], true).await;
    check(&frame(0x81, b"a").repeat(2), &[text("a"), text("a")], true).await;
    check(&frame(0x89, b""), &[Incoming::Ping(Default::default())], true).await;
    let fragments = [frame(0x01, b"a"), frame(0x80, b"b")].concat();
    check(&fragments, &[text("ab")], true).await;
    let long = "x".repeat(90_000);
    check(&frame(0x81, long.as_bytes()), &[text(&long)], true).await;
}

#[tokio::test]
async fn a_reader_does_not_idle_inside_a_header() {
    let header = header(0x82, 70_000);
    for cut in 1..=header.len() {
        check(&header[..cut], &[], false).await;
        let stream = [&frame(0x81, b"a")[..], &header[..cut]].concat();
        check(&stream, &[text("a")], false).await;
    }
}

#[tokio::test]
async fn a_reader_does_not_idle_inside_a_payload() {
    check(&frame(0x81, b"abc")[..7], &[], false).await;
    check(&frame(0x81, &[b'x'; 9000])[..8 + 4096], &[], false).await;
    check(&frame(0x81, &[b'x'; 9000])[..9000], &[], false).await;
}

#[tokio::test]
async fn a_reader_does_not_idle_inside_a_fragmented_message() {
    check(&frame(0x01, b"a"), &[], false).await;
    let stream = [frame(0x01, b"a"), frame(0x89, b"")].concat();
    check(&stream, &[Incoming::Ping(Default::default())], false).await;
}

#[tokio::test]
async fn a_reader_that_is_dropped_when_idle_loses_nothing() {
    let (mut client, mut server) = duplex(1 << 20);
    for round in 0..3 {
        let message = format!("round {round}");
        client.write_all(&frame(0x81, message.as_bytes())).await.unwrap();
        let mut reader = Reader::new(&mut server, LIMITS);
        assert_eq!(reader.next().await.unwrap(), text(&message));
        assert_eq!(reader.next().await.unwrap(), Incoming::Idle);
    }
}

#[tokio::test]
async fn a_reader_goes_on_after_idling() {
    let (mut client, server) = duplex(1 << 20);
    let mut reader = Reader::new(server, LIMITS);
    assert_eq!(reader.next().await.unwrap(), Incoming::Idle);
    client.write_all(&frame(0x81, b"a")).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), text("a"));
    assert_eq!(reader.next().await.unwrap(), Incoming::Idle);
}

#[tokio::test]
async fn recv_waits_instead_of_idling() {
    let (mut client, server) = duplex(1 << 20);
    let mut reader = Reader::new(server, LIMITS);
    let receive = tokio::spawn(async move { reader.recv().await });
    tokio::task::yield_now().await;
    client.write_all(&frame(0x81, b"a")).await.unwrap();
    assert_eq!(receive.await.unwrap().unwrap(), text("a"));
}

#[tokio::test]
async fn a_future_dropped_inside_a_frame_fails_each_further_call() {
    let (mut client, server) = duplex(1 << 20);
    let mut reader = Reader::new(server, LIMITS);
    let message = frame(0x81, b"abc");
    client.write_all(&message[..7]).await.unwrap();
    assert!(poll_once(reader.next()).is_pending());
    client.write_all(&message[7..]).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(reader.next().await, Err(ReadError::Io(_))));
    }
}

#[tokio::test]
async fn each_call_after_a_violation_says_it_again() {
    let mut reader = Reader::new(&b"\x81\x00\x81\x00"[..], LIMITS);
    for _ in 0..3 {
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, ReadError::Violation { code, .. } if code.0 == 1002));
        assert_eq!(error.to_string(), "frame is not masked (close code 1002)");
    }
}

/// Fails with an error of this kind, after a frame.
struct Fails(Vec<u8>, io::ErrorKind);

impl AsyncRead for Fails {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Ready(Err(self.1.into()));
        }
        buf.put_slice(&std::mem::take(&mut self.0));
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn errors_of_the_stream_are_passed_on() {
    let fails = |kind| Reader::new(Fails(frame(0x81, b"a"), kind), LIMITS);

    let mut reader = fails(io::ErrorKind::ConnectionReset);
    assert_eq!(reader.next().await.unwrap(), text("a"));
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, ReadError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset));

    // A stream has to wait instead of saying so: it must not be mistaken for idling.
    let mut reader = fails(io::ErrorKind::WouldBlock);
    assert_eq!(reader.next().await.unwrap(), text("a"));
    assert!(matches!(reader.next().await, Err(ReadError::Io(_))));
}

#[tokio::test]
async fn a_tls_stream_cut_off_between_messages_just_ended() {
    // TLS without close_notify is such an error; whether anything is missing is seen here.
    let mut reader = Reader::new(Fails(frame(0x81, b"a"), io::ErrorKind::UnexpectedEof), LIMITS);
    assert_eq!(reader.next().await.unwrap(), text("a"));
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, ReadError::Eof { mid_message: false }));
}
