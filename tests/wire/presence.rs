//! Who is in a topic, told to members, by command and over HTTP.

use serde_json::{Value, json};

use crate::client::{ANY, Client, Encoding};
use crate::http::{get, request};
use crate::server::Server;

/// Becomes a member; gives the answer to it that says who is there.
fn join(client: &mut Client, topic: &str, member: &Value) -> Value {
    client.send(json!({"type": "subscribe", "id": 1, "topic": topic, "presence": true, "member": member}));
    client.expect(json!({"type": "subscribed", "id": 1, "topic": topic, "epoch": ANY, "offset": 0}));
    let presence = client.recv();
    assert_eq!((&presence["type"], &presence["topic"]), (&json!("presence"), &json!(topic)), "{presence}");
    presence
}

fn connection(client: &Client) -> Value {
    client.welcome["connection"].clone()
}

#[test]
fn members_see_one_another_come_and_go_in_versions_that_rise_by_one() {
    let server = Server::with(&[("server.threads", "2")]);
    let mut ana = Client::json(&server);
    let first = join(&mut ana, "room.1", &json!({"name": "Ana"}));
    let me = json!({"connection": connection(&ana), "member": {"name": "Ana"}});
    assert_eq!((&first["count"], &first["members"]), (&json!(1), &json!([me])));
    let mut bob = Client::msgpack(&server);
    let second = join(&mut bob, "room.1", &json!({"name": "Bob"}));
    assert_eq!(second["count"], 2);
    let version = first["version"].as_u64().expect("a version");
    ana.expect(json!({
        "type": "presence_diff", "topic": "room.1", "version": version + 1,
        "joined": [{"connection": connection(&bob), "member": {"name": "Bob"}}], "left": []
    }));
    let left = connection(&bob);
    drop(bob);
    ana.expect(json!({
        "type": "presence_diff", "topic": "room.1", "version": version + 2,
        "joined": [], "left": [{"connection": left}]
    }));
    ana.send(json!({"type": "unsubscribe", "id": 2, "topic": "room.1"}));
    assert_eq!(ana.recv()["type"], "unsubscribed");
    let empty = get(&server, "/v1/topics/room.1/presence").json();
    assert_eq!((&empty["count"], &empty["version"]), (&json!(0), &json!(version + 3)));
}

#[test]
fn anybody_may_ask_who_is_there() {
    let server = Server::start();
    let mut member = Client::json(&server);
    join(&mut member, "room", &json!("it's me"));
    let members = json!([{"connection": connection(&member), "member": "it's me"}]);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut client = Client::connect(&server, encoding);
        client.send(json!({"type": "presence", "id": 5, "topic": "room"}));
        client.expect(
            json!({"type": "presence", "id": 5, "topic": "room", "version": 1, "count": 1, "members": members}),
        );
        client.send(json!({"type": "presence", "id": 6, "topic": "nobody.here"}));
        client.expect(
            json!({"type": "presence", "id": 6, "topic": "nobody.here", "version": 0, "count": 0, "members": []}),
        );
        client.send(json!({"type": "presence", "id": 7, "topic": "room.*"}));
        client.expect_error("bad_request");
        client.send(json!({"type": "presence", "id": 7, "topic": "room..1"}));
        client.expect_error("bad_topic");
    }
    let reply = get(&server, "/v1/topics/room/presence");
    assert_eq!(
        reply.json(),
        json!({"type": "presence", "topic": "room", "version": 1, "count": 1, "members": members})
    );
    get(&server, "/v1/topics/room.*/presence").expect_error(400, "bad_request");
    assert_eq!(request(&server, "DELETE", "/v1/topics/room/presence", &[], b"").status, 405);
}

#[test]
fn what_a_member_says_of_itself_reaches_the_other_encoding() {
    let server = Server::start();
    let mut json = Client::json(&server);
    join(&mut json, "room", &json!({"n": 1, "list": [true, null, 1.5]}));
    let mut msgpack = Client::msgpack(&server);
    let presence = join(&mut msgpack, "room", &json!("packed"));
    let said: Vec<&Value> =
        presence["members"].as_array().expect("a list").iter().map(|member| &member["member"]).collect();
    assert!(
        said.contains(&&json!({"n": 1, "list": [true, null, 1.5]})) && said.contains(&&json!("packed")),
        "{presence}"
    );
    let diff = json.recv();
    assert_eq!(diff["joined"][0]["member"], "packed");
}

#[test]
fn a_topic_has_as_many_members_as_is_set() {
    let server = Server::with(&[("limits.members_per_topic", "1")]);
    let mut first = Client::json(&server);
    join(&mut first, "room", &json!(1));
    let mut second = Client::json(&server);
    second.send(json!({"type": "subscribe", "id": 1, "topic": "room", "presence": true}));
    let error = second.recv();
    assert_eq!((&error["code"], &error["topic"]), (&json!("overloaded"), &json!("room")));
    assert!(error["retry_after_ms"].is_u64());
}

#[test]
fn a_client_takes_over_from_its_predecessor_and_nobody_sees_it_leave() {
    let server = Server::with(&[("server.threads", "2")]);
    let mut ana = Client::json(&server);
    join(&mut ana, "room", &json!("ana"));
    let mut old = Client::json(&server);
    join(&mut old, "room", &json!("bob"));
    assert_eq!(ana.recv()["joined"][0]["member"], "bob");
    let mut new = Client::json(&server);
    new.send(json!({"type": "resume", "id": 9, "resume": old.welcome["resume"]}));
    new.expect(json!({"type": "resumed", "id": 9}));
    let goodbye = loop {
        let event = old.recv();
        if event["type"] != "presence_diff" {
            break event;
        }
    };
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&json!("goodbye"), &json!(4409)));
    let presence = join(&mut new, "room", &json!("bob"));
    assert_eq!(presence["count"], 2);
    assert!(
        presence["members"].as_array().expect("a list").iter().any(|member| member["connection"] == connection(&old))
    );
    ana.expect_quiet();
    drop(new);
    assert_eq!(ana.recv()["left"], json!([{"connection": connection(&old)}]));
}

#[test]
fn a_place_is_taken_once_and_by_those_who_know_its_secret() {
    let server = Server::start();
    let old = Client::json(&server);
    let mut new = Client::json(&server);
    for secret in [json!("nonsense"), json!(""), new.welcome["resume"].clone()] {
        new.send(json!({"type": "resume", "id": 1, "resume": secret}));
        new.expect_error("bad_request");
    }
    let secret = old.welcome["resume"].clone();
    new.send(json!([{"type": "resume", "id": 1, "resume": secret}, {"type": "ping", "id": 2}]));
    new.expect(json!({"type": "resumed", "id": 1}));
    new.expect(json!({"type": "pong", "id": 2}));
    drop(old);
    let mut late = Client::json(&server);
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    loop {
        late.send(json!({"type": "resume", "id": 1, "resume": secret}));
        let event = late.recv();
        if event["type"] == "error" {
            assert_eq!(event["code"], "bad_request");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "its predecessor never ends");
    }
}

#[test]
fn the_place_of_a_connection_that_was_lost_can_be_taken_for_a_while() {
    let server = Server::with(&[("server.threads", "2"), ("presence.grace_ms", "60000")]);
    let mut ana = Client::json(&server);
    join(&mut ana, "room", &json!("ana"));
    let mut old = Client::json(&server);
    join(&mut old, "room", &json!("bob"));
    assert_eq!(ana.recv()["joined"][0]["member"], "bob");
    let (name, secret) = (connection(&old), old.welcome["resume"].clone());
    drop(old);
    // Whether the server has seen its end or not comes to the same.
    let mut new = Client::json(&server);
    new.send(json!({"type": "resume", "id": 9, "resume": secret}));
    new.expect(json!({"type": "resumed", "id": 9}));
    let presence = join(&mut new, "room", &json!("bob"));
    let names: Vec<_> =
        presence["members"].as_array().expect("a list").iter().map(|m| m["connection"].clone()).collect();
    assert!(names.contains(&name) && names.len() == 2, "{presence}");
    ana.expect_quiet();
    // Who leaves in good order is gone at once, whatever the grace.
    new.close();
    assert_eq!(ana.recv()["left"], json!([{"connection": name}]));
}
