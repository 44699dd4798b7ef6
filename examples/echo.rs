//! An echo server made of `fanfare::ws` alone, without the broker: hyper brings the requests, the
//! layer does the handshake, reads messages and makes frames, and what is here decides what to say.
//! Clients that offer compression get it.
//!
//! ```sh
//! cargo run --release --example echo -- 127.0.0.1:9001
//! cargo run --release --example echo -- 127.0.0.1:9001 --takeover    # clients may refer to earlier messages
//! ```
//!
//! The conformance suites run against it, so it takes messages far larger than most services should.

#![allow(clippy::print_stdout, reason = "an example talks to a terminal")]

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::io;
use std::time::Duration;

use fanfare::ws::{self, Deflate, DeflateOptions, Incoming, Opcode, ReadError, ReadLimits, Reader};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// 4 MiB in frames of 64 bytes, and an empty one at their end, are the most fragments of all cases of the
/// Autobahn suite.
const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 16 * 1024 * 1024, fragments_max: 65_537 };

/// How long a peer has to hang up after the last frame.
const LINGER: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = DeflateOptions {
        client_context_takeover: std::env::args().any(|argument| argument == "--takeover"),
        ..DeflateOptions::default()
    };
    let listener = support::listen().await?;
    println!("ws://{}", listener.local_addr()?);
    tokio::select! {
        () = serve(listener, options) => {}
        stop = tokio::signal::ctrl_c() => stop?,
    }
    Ok(())
}

async fn serve(listener: TcpListener, options: DeflateOptions) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most often no file descriptor is left, which passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Without it the kernel holds small messages back for up to 40 ms.
        let _ = stream.set_nodelay(true);
        let answer = service_fn(move |request| ready(Ok::<_, Infallible>(answer(request, &options))));
        let connection = http1::Builder::new()
            // hyper needs a timer to give up on a peer that never finishes its request's head.
            .timer(TokioTimer::new())
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades();
        // An error here means that the peer broke HTTP or left: nothing to do.
        tokio::spawn(connection);
    }
}

/// The opening handshake.
fn answer<B>(mut request: Request<B>, options: &DeflateOptions) -> Response<String> {
    let accept_key = match ws::check(request.method(), request.version(), request.headers()) {
        Ok(accept) => accept.accept_key,
        Err(error) => {
            let mut response = Response::new(format!("{error}\n"));
            *response.status_mut() = error.status();
            response.headers_mut().extend(error.headers());
            return response;
        }
    };
    let deflate = Deflate::negotiate(request.headers(), options);
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(deflate) = &deflate {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.header_value());
    }

    // The stream is free once the answer has been sent. It begins with whatever the client sent
    // without waiting for that.
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(stream) = upgraded.await {
            // An error here means that the peer has left.
            let _ = echo(TokioIo::new(stream), deflate).await;
        }
    });
    response
}

/// Sends messages back until the peer closes the connection, or breaks the protocol.
async fn echo(stream: impl AsyncRead + AsyncWrite, deflate: Option<Deflate>) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut reader = match &deflate {
        Some(deflate) => Reader::inflating(&mut read, LIMITS, deflate),
        None => Reader::new(&mut read, LIMITS),
    };
    let push = |out: &mut Vec<u8>, opcode, payload: &[u8]| match &deflate {
        Some(deflate) => {
            ws::push_deflated(out, opcode, payload, deflate.window());
        }
        None => ws::push(out, opcode, payload),
    };
    let mut out = Vec::new();
    loop {
        let is_last = match reader.recv().await {
            Ok(Incoming::Text(text)) => {
                push(&mut out, Opcode::Text, text.as_bytes());
                false
            }
            Ok(Incoming::Binary(bytes)) => {
                push(&mut out, Opcode::Binary, &bytes);
                false
            }
            Ok(Incoming::Ping(payload)) => {
                ws::push(&mut out, Opcode::Pong, &payload);
                false
            }
            Ok(Incoming::Pong(_) | Incoming::Idle) => continue,
            // RFC 6455, 5.5.1: the answer to a close frame typically echoes its status code.
            Ok(Incoming::Close(Some((code, _)))) => {
                ws::push_close(&mut out, code, "");
                true
            }
            Ok(Incoming::Close(None)) => {
                ws::push(&mut out, Opcode::Close, b"");
                true
            }
            Err(ReadError::Violation { code, reason }) => {
                ws::push_close(&mut out, code, reason);
                true
            }
            Err(ReadError::Io(error)) => return Err(error),
            // The peer hung up, or said that it sends no more, and all that it asked is answered.
            Err(ReadError::Eof { .. }) => return write.shutdown().await,
        };
        write.write_all(&out).await?;
        if is_last {
            break;
        }
        // A large message does not keep its memory for the small ones that follow.
        out.clear();
        out.shrink_to(64 * 1024);
    }
    // RFC 6455, 7.1.1: the server closes the TCP connection first. What the peer has sent meanwhile
    // is read all the same: a socket that is closed with bytes unread resets the connection, and
    // the close frame may be lost with it.
    write.shutdown().await?;
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut read, &mut tokio::io::sink())).await;
    Ok(())
}
