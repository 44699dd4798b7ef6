//! A broker inside a service that has its own hyper server: subscribe, publish, and what can go
//! wrong with either.
//!
//! ```sh
//! cargo run --example embed               # or: -- 127.0.0.1:8080
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to a terminal")]

mod check;

use std::error::Error;
use std::time::Duration;

use fanfare::{Broker, Delivery, PublishError, Service, Subscription};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if check::is_asked_for() {
        return check::run(serve, verify).await;
    }
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    serve(TcpListener::bind(address).await?).await
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    println!("browsers: http://{0}/  clients: ws://{0}/ws", listener.local_addr()?);

    tokio::spawn(print_orders(broker.subscribe("orders.*")?));
    tokio::select! {
        ended = publish_orders(broker) => ended?,
        () = accept(listener, service.clone()) => {}
        stop = tokio::signal::ctrl_c() => stop?,
    }

    // Tells clients when to come back, each at another moment within five seconds, instead of just
    // hanging up on them. One that does not answer holds nobody up for long.
    service.drain(Duration::from_secs(5));
    for _ in 0..200 {
        if service.connections() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// hyper, as any service runs it. To keep paths for yourself, put a `service_fn` in front that calls
/// `service.handle(request)` for the rest.
async fn accept(listener: TcpListener, service: Service) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Most often there are no file descriptors left. That passes; a loop would not help it.
            Err(error) => {
                eprintln!("no connection accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without it the kernel holds small messages back for up to 40 ms.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            // hyper needs a timer to give up on a peer that never finishes its request's head.
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service.clone())
            // Without this every WebSocket handshake fails.
            .with_upgrades();
        // An error here means that the peer broke HTTP or left: nothing to do.
        tokio::spawn(connection);
    }
}

/// An in-process subscription gets what a WebSocket client gets, without a socket.
async fn print_orders(mut orders: Subscription) {
    loop {
        match orders.next().await {
            Delivery::Message(order) => match order.decode::<serde_json::Value>() {
                Ok(value) => println!("{} #{}: {value}", order.topic(), order.offset()),
                // A client may publish to this topic as well, and anything at all.
                Err(error) => eprintln!("{} #{}: {error}", order.topic(), order.offset()),
            },
            // This loop was slower than the topic's history is long. What was left out is known
            // exactly; a service that must not lose an order reads it from its database now.
            Delivery::Gap(gap) => eprintln!("{}: missed {} to {}", gap.topic, gap.from, gap.to),
        }
    }
}

async fn publish_orders(broker: Broker) -> Result<(), PublishError> {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    for number in 1.. {
        ticks.tick().await;
        match broker.publish("orders.placed", &json!({"number": number})).await {
            Ok(_) => {}
            // The broker is full for now; the next order may find room.
            Err(error @ PublishError::TooManyTopics) => eprintln!("order {number} not published: {error}"),
            // An illegal name, a payload that JSON cannot carry or one that is too large: our mistake,
            // and trying again would not mend it.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What `--check` does.
async fn verify(at: std::net::SocketAddr) -> check::Outcome {
    let mut client = check::Client::follow(&format!("ws://{at}/ws"), "orders.*").await?;
    let first = client.event("message").await?["data"]["number"].as_u64().ok_or("no number")?;
    let second = client.event("message").await?;
    assert_eq!(second["topic"], "orders.placed");
    assert_eq!(second["data"]["number"], first + 1);
    assert_eq!(check::http(at, "GET", "/healthz", "").await?, (200, "ok\n".to_owned()));

    let broker = Broker::builder().message_bytes_max(16).build();
    let refused = broker.publish("orders.placed", "a long story about an order").await;
    assert!(matches!(refused, Err(PublishError::TooLarge { limit: 16, .. })), "{refused:?}");
    Ok(())
}
