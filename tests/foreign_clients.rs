//! The real server, talked to by clients that nobody here wrote.

#![cfg(feature = "server")]

#[path = "support/foreign.rs"]
mod foreign;
#[path = "support/server.rs"]
mod server;

use server::Server;

#[test]
fn python_sees_what_the_contract_promises() {
    let server = Server::start();
    foreign::python("client.py", &[&format!("ws://{}/ws", server.address())]);
}

#[test]
fn node_sees_what_the_contract_promises() {
    let server = Server::start();
    foreign::node("client.mjs", &[&format!("ws://{}/ws", server.address())]);
}

#[test]
fn node_follows_server_sent_events() {
    let server = Server::start();
    foreign::node("events.mjs", &[&format!("http://{}", server.address())]);
}
