//! A broker in a service that has its own hyper server: `cargo run --example embed`, or `-- 127.0.0.1:8080`.

#![allow(clippy::print_stdout, reason = "an example talks to a terminal")]

mod support;

use std::time::Duration;

use fanfare::{Broker, Delivery, PublishError, Service, Subscription};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    let listener = support::listen().await?;
    println!("browsers: http://{0}/  clients: ws://{0}/ws", listener.local_addr()?);
    tokio::spawn(serve(listener, service.clone()));
    tokio::spawn(print(broker.subscribe("orders.*")?));

    let publish = async {
        for number in 1_u64.. {
            broker.publish("orders.placed", &serde_json::json!({"number": number})).await?;
            sleep(Duration::from_millis(500)).await;
        }
        Ok::<(), PublishError>(())
    };
    tokio::select! {
        ended = publish => ended?,
        stop = tokio::signal::ctrl_c() => stop?,
    }
    // Tells each client when to come back, within five seconds, instead of just hanging up on it.
    service.drain(Duration::from_secs(5));
    service.drained().await;
    Ok(())
}

async fn serve(listener: TcpListener, service: Service) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most often no file descriptor is left, which passes.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut http = http1::Builder::new();
        let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service.clone());
        // Without upgrades no WebSocket opens.
        tokio::spawn(connection.with_upgrades());
    }
}

/// An in-process subscription gets what a WebSocket client gets, without a socket.
async fn print(mut orders: Subscription) {
    loop {
        match orders.next().await {
            Delivery::Message(order) => {
                println!("{} #{}: {}", order.topic(), order.offset(), String::from_utf8_lossy(&order.json()));
            }
            // Printing was slower than the topic's history is long.
            Delivery::Gap(gap) => println!("{}: missed {} to {}", gap.topic, gap.from, gap.to),
        }
    }
}
