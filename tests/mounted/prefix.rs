//! The service under a path of an axum app.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use fanfare::{Broker, Service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::client::Client;

async fn serve(broker: &Broker) -> SocketAddr {
    let app =
        Router::new().route("/", get(|| async { "the app" })).nest_service("/events", Service::new(broker.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// One HTTP call: the status, the head and the body of its answer.
async fn http(at: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).await.expect("the app accepts");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("the app reads");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it answers").expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_socket_the_api_and_the_probes_are_below_it() {
    let broker = Broker::new();
    let at = serve(&broker).await;
    let stream = TcpStream::connect(at).await.expect("the app accepts");
    let mut client = Client::over(stream, &format!("ws://{at}/events/ws")).await;
    client.subscribe("a").await;
    let (status, _, body) = http(at, "POST", "/events/v1/publish", r#"{"topic":"a","data":1}"#).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(client.expect("message").await["data"], 1);
    broker.publish("a", &2).await.expect("published");
    assert_eq!(client.expect("message").await["data"], 2);
    let (status, _, body) = http(at, "GET", "/events/v1/topics?prefix=a", "").await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["topics"][0]["topic"], &body["topics"][0]["subscribers"]), (200, &json!("a"), &json!(1)));
    for path in ["/events/healthz", "/events/readyz", "/events/metrics"] {
        assert_eq!(http(at, "GET", path, "").await.0, 200, "{path}");
    }
    // What is not below it is the app's.
    assert_eq!(http(at, "GET", "/", "").await.2, "the app");
    for path in ["/ws", "/v1/topics", "/metrics", "/assets/app.js", "/events/nothing"] {
        assert_eq!(http(at, "GET", path, "").await.0, 404, "{path}");
    }
}

/// Everything between `before` and the next quotation mark.
fn links(text: &str, before: &str) -> Vec<String> {
    text.split(before).skip(1).map(|rest| rest.split(['"', '\'']).next().expect("a link").to_owned()).collect()
}

#[tokio::test]
async fn the_page_finds_all_of_its_parts_there() {
    let at = serve(&Broker::new()).await;
    let (status, head, page) = http(at, "GET", "/events/", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    let mut left: Vec<String> = links(&page, "src=\"").into_iter().chain(links(&page, "href=\"")).collect();
    let mut seen = BTreeSet::new();
    while let Some(link) = left.pop() {
        if link.starts_with('#') || !seen.insert(link.clone()) {
            continue;
        }
        assert!(!link.starts_with('/') && !link.contains("://"), "{link} does not stay below the path");
        let (status, head, text) = http(at, "GET", &format!("/events/{link}"), "").await;
        assert_eq!(status, 200, "{link}");
        let kind = match link.rsplit_once('.').expect("an extension").1 {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/svg+xml",
        };
        assert!(head.contains(&format!("content-type: {kind}")), "{link}: {head}");
        // Modules name each other from where they stand.
        let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
        left.extend(links(&text, "from './").into_iter().map(|name| format!("{folder}/{name}")));
        assert_eq!(links(&text, "from '/"), [""; 0], "{link}");
        for absolute in ["'/ws", "'/v1", "`/ws", "`/v1", "\"/ws", "\"/v1", "url(/"] {
            assert!(!text.contains(absolute), "{link} has {absolute}");
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}
