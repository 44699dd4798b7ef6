//! Credentials of every kind, by every carrier, and what they allow (the contract's sections 2, 7 and 8).

use std::io::Read;
use std::process::{Command, Stdio};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::client::{ANY, Client};
use crate::http::{metric, request};
use crate::server::{Server, command};
use crate::tokens::{RSA_PUBLIC, SECRET, ana, bad_tokens, now, sign};

const KEY: &str = "the-key-of-billing";

/// What every server of these tests has, beside what the test asks for. The heartbeat sets how finely it
/// sees time.
const SETTINGS: &[(&str, &str)] =
    &[("auth.public_key_files", RSA_PUBLIC), ("auth.leeway_ms", "0"), ("keep_alive.heartbeat_ms", "400")];

fn server(more: &[(&str, &str)]) -> Server {
    Server::run(configured(more))
}

fn configured(more: &[(&str, &str)]) -> Command {
    let secrets = format!("[{SECRET:?}]");
    let mut settings = vec![("auth.secrets", &*secrets)];
    settings.extend(SETTINGS);
    settings.extend(more);
    command(&settings)
}

fn token() -> String {
    sign(&ana(600))
}

fn root() -> String {
    sign(&json!({"sub": "root", "exp": now() + 600, "fanfare": {"admin": true}}))
}

/// Connects with a token in a header, and has been welcomed.
fn connect(server: &Server, token: &str) -> Client {
    let bearer = format!("Bearer {token}");
    welcomed(Client::dial(server, "/ws", &[("Authorization", &bearer)], &[]))
}

#[track_caller]
fn welcomed(dialled: Result<Client, u16>) -> Client {
    let mut client = dialled.expect("the handshake succeeds");
    client.welcome = client.recv();
    assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
    client
}

/// The client is who the test's token says.
#[track_caller]
fn expect_ana(mut client: Client) {
    client.send(json!({"type": "subscribe", "id": 1, "topics": ["room.ana", "room.bob"]}));
    client.expect(json!({"type": "subscribed", "id": 1, "topic": "room.ana", "epoch": ANY, "offset": 0}));
    client.expect(json!({"type": "error", "id": 1, "topic": "room.bob", "code": "forbidden"}));
}

#[test]
fn a_token_counts_by_whatever_it_comes() {
    let server = server(&[]);
    let token = token();
    let item = format!("fanfare.token.{token}");
    expect_ana(connect(&server, &token));
    expect_ana(welcomed(Client::dial(&server, "/ws", &[], &[&item])));
    expect_ana(welcomed(Client::dial(&server, &format!("/ws?token={token}"), &[], &[])));
    let mut client = welcomed(Client::dial(&server, "/ws", &[], &[]));
    client.send(json!({"type": "auth", "id": 7, "token": token}));
    let event = client.recv();
    assert_eq!((&event["type"], &event["id"], &event["subject"]), (&json!("authenticated"), &json!(7), &json!("ana")));
    let left = event["expires_in_ms"].as_u64().expect("it ends");
    assert!((500_000..=600_000).contains(&left), "{event}");
    expect_ana(client);
}

#[test]
fn the_first_carrier_that_is_present_counts_and_no_other_is_tried() {
    let server = server(&[]);
    let (good, bad) = (token(), "nonsense");
    let dial = |header: &str, query: &str| {
        let bearer = format!("Bearer {header}");
        Client::dial(&server, &format!("/ws?token={query}"), &[("Authorization", &bearer)], &[])
    };
    assert_eq!(dial(bad, &good).err(), Some(401));
    expect_ana(welcomed(dial(&good, bad)));
    assert_eq!(Client::dial(&server, &format!("/ws?token={good}"), &[("X-API-Key", "k")], &[]).err(), Some(401));
}

#[test]
fn tokens_that_do_not_count_are_refused_before_the_upgrade() {
    let server = server(&[]);
    for (what, token) in bad_tokens() {
        let bearer = ("Authorization", &*format!("Bearer {token}"));
        assert_eq!(Client::dial(&server, "/ws", &[bearer], &[]).err(), Some(401), "{what}");
        let reply = request(&server, "POST", "/v1/publish", &[bearer], br#"{"topic":"room.1","data":1}"#);
        reply.expect_error(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{what}");
    }
    // Longer heads are nobody's.
    let huge = format!("Bearer {}", "a".repeat(20_000));
    assert_eq!(Client::dial(&server, "/ws", &[("Authorization", &huge)], &[]).err(), Some(431));
    // Nobody else is hurt, and it is counted.
    expect_ana(connect(&server, &token()));
    assert_eq!(metric(&server, "fanfare_refused_credentials_total"), 2 * bad_tokens().len() as u64);
}

#[test]
fn publishes_with_credentials_count_less_than_other_requests() {
    let server = server(&[("limits.exempt", ""), ("limits.commands_per_address", "1/s burst 125")]);
    let bearer = format!("Bearer {}", token());
    let answered = |header| {
        let ask = || request(&server, "POST", "/v1/publish", &[header], br#"{"topic":"room.1","data":1}"#).status;
        (0..100).map(|_| ask()).take_while(|&status| status != 429).count()
    };
    let known = answered(("Authorization", &bearer));
    assert!((20..=30).contains(&known), "{known}");
    // What has come in since is too little for a request of a stranger's.
    assert_eq!(answered(("Accept", "*/*")), 0);
}

/// Each takes ten attempts, so a few of them in a row are judged; then they cost nothing more.
#[test]
fn bad_credentials_in_requests_are_not_looked_at_once_there_were_too_many() {
    let server = server(&[
        ("limits.exempt", ""),
        ("server.trusted_proxies", "127.0.0.1"),
        ("limits.attempts_per_address", "1/s burst 30"),
    ]);
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = |target: &str, from: &str, header: (&str, &str)| {
        request(&server, "GET", target, &[("X-Forwarded-For", from), header], b"")
    };
    let shown: [(&str, &str, (&str, &str)); 4] = [
        ("192.0.2.1", "/v1/topics/room.1/history", ("Authorization", &bearer("nonsense"))),
        ("192.0.2.2", "/v1/topics", ("X-API-Key", "nonsense")),
        ("192.0.2.3", "/v1/events?topic=a&token=nonsense", ("Accept", "text/event-stream")),
        ("192.0.2.4", "/v1/events?topic=a", ("Authorization", &bearer("nonsense"))),
    ];
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    for (from, target, header) in shown {
        let mut judged = 0;
        let refused = loop {
            let reply = ask(target, from, header);
            if reply.status == 429 {
                break reply;
            }
            reply.expect_error(401, "unauthorized");
            judged += 1;
            assert!(std::time::Instant::now() < deadline, "{target}: {judged} were judged");
        };
        refused.expect_error(429, "rate_limited");
        let seconds: u64 = refused.header("retry-after").and_then(|value| value.parse().ok()).expect("whole seconds");
        assert!((1..=10).contains(&seconds), "{target}: {seconds}");
        assert!(judged >= 4, "{target}: {judged}");
        // Who shows nothing is answered as before.
        ask("/v1/topics", from, ("Accept", "*/*")).expect_error(401, "unauthorized");
    }
    assert!(metric(&server, "fanfare_limited_credentials_total") >= 4);
    // Nobody else is hurt.
    let good = bearer(&token());
    assert_eq!(ask("/v1/topics/room.1/history", "192.0.2.5", ("Authorization", &good)).status, 200);
}

#[test]
fn pages_are_told_after_the_upgrade() {
    let server = server(&[]);
    for (what, token) in bad_tokens() {
        let target = format!("/ws?token={token}");
        let item = format!("fanfare.token.{token}");
        for dialled in [Client::dial(&server, &target, &[], &[]), Client::dial(&server, "/ws", &[], &[&item])] {
            let mut client = dialled.unwrap_or_else(|status| panic!("{what}: {status}"));
            client.expect_error("unauthorized");
            client.expect_goodbye(4401);
        }
    }
    // A token in the query is for those who have no other way.
    let reply = request(&server, "POST", &format!("/v1/publish?token={}", token()), &[], br#"{"topic":"a","data":1}"#);
    reply.expect_error(401, "unauthorized");
}

#[test]
fn who_shows_nothing_may_do_nothing_but_authenticate() {
    let server = server(&[]);
    for command in [
        json!({"type": "subscribe", "id": 1, "topic": "news.a"}),
        json!({"type": "publish", "id": 1, "topic": "room.a", "data": 1}),
        json!({"type": "history", "id": 1, "topic": "room.a"}),
        json!({"type": "resume", "id": 1, "resume": "x"}),
        json!({"type": "auth", "id": 1, "token": "nonsense"}),
        json!({"type": "auth", "id": 1, "token": "a".repeat(60_000)}),
    ] {
        let mut client = welcomed(Client::dial(&server, "/ws", &[], &[]));
        client.send(json!({"type": "ping", "id": 0}));
        client.expect(json!({"type": "pong", "id": 0}));
        client.send(command);
        client.expect_error("unauthorized");
        client.expect_goodbye(4401);
    }
}

#[test]
fn who_shows_nothing_in_time_is_sent_away() {
    let server = server(&[("auth.first_command_ms", "200")]);
    let mut client = welcomed(Client::dial(&server, "/ws", &[], &[]));
    client.expect_goodbye(4408);
    assert_eq!(metric(&server, "fanfare_closed_expired_total"), 1);
    let mut client = welcomed(Client::dial(&server, "/ws", &[], &[]));
    client.send(json!({"type": "auth", "id": 1, "token": token()}));
    assert_eq!(client.recv()["type"], "authenticated");
    std::thread::sleep(std::time::Duration::from_millis(500));
    expect_ana(client);
}

#[test]
fn permissions_hold_for_every_command() {
    let server = server(&[]);
    let mut ana = connect(&server, &token());
    let forbidden = |client: &mut Client, command: Value| {
        client.send(command);
        client.expect_error("forbidden");
    };
    for filter in ["other", ">", "news", "*", "$stats", "room.*"] {
        forbidden(&mut ana, json!({"type": "subscribe", "id": 1, "topic": filter}));
    }
    forbidden(&mut ana, json!({"type": "publish", "id": 1, "topic": "news.a", "data": 1}));
    forbidden(&mut ana, json!({"type": "publish", "topic": "$stats", "data": 1}));
    forbidden(&mut ana, json!({"type": "history", "id": 1, "topic": "news.a"}));
    forbidden(&mut ana, json!({"type": "presence", "id": 1, "topic": "news.a"}));
    forbidden(&mut ana, json!({"type": "subscribe", "id": 1, "topic": "news.a", "presence": true}));
    ana.subscribe("news.>");
    assert_eq!(ana.publish("room.7", json!(1)), 1);
    ana.send(json!({"type": "history", "id": 1, "topic": "room.7"}));
    assert_eq!(ana.recv()["messages"][0]["data"], 1);

    let mut root = connect(&server, &root());
    root.subscribe("$stats");
    forbidden(&mut root, json!({"type": "subscribe", "id": 1, "topic": "news.a"}));
}

#[test]
fn members_are_known_by_the_name_that_they_prove() {
    let server = server(&[]);
    let mut client = connect(&server, &token());
    client.send(
        json!({"type": "subscribe", "id": 1, "topic": "room.ana", "presence": true, "member": {"subject": "eve"}}),
    );
    assert_eq!(client.recv()["type"], "subscribed");
    let member = client.recv()["members"][0].clone();
    assert_eq!((&member["subject"], &member["member"]), (&json!("ana"), &json!({"subject": "eve"})));
}

#[test]
fn a_connection_ends_with_its_credentials_and_is_told_before() {
    let server = server(&[("auth.expiring_ms", "1000")]);
    let mut client = connect(&server, &sign(&ana(2)));
    let event = client.recv();
    assert_eq!(event["type"], "expiring", "{event}");
    assert!(event["expires_in_ms"].as_u64().is_some_and(|left| (1..=1000).contains(&left)), "{event}");
    client.expect_goodbye(4401);
}

#[test]
fn new_credentials_take_the_place_of_the_old() {
    let server = server(&[("auth.expiring_ms", "1000")]);
    let mut client = connect(&server, &sign(&ana(2)));
    client.subscribe("news.a");
    assert_eq!(client.recv()["type"], "expiring");
    client.send(json!({"type": "auth", "id": 1, "token": token()}));
    assert_eq!(client.recv()["type"], "authenticated");
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    client.expect_quiet();

    // Credentials that do not count change nothing, and nobody becomes somebody else.
    client.send(json!({"type": "auth", "id": 2, "token": "nonsense"}));
    client.expect_error("unauthorized");
    client.send(json!({"type": "auth", "id": 3, "token": root()}));
    client.expect_error("forbidden");
    client.expect_quiet();

    // What was allowed and is no more is not followed any longer.
    client.send(json!({"type": "auth", "id": 4, "token": sign(&json!({"sub": "ana", "exp": now() + 600}))}));
    assert_eq!(client.recv()["type"], "authenticated");
    client.expect_goodbye(4401);
}

#[test]
fn a_place_is_taken_by_its_subject_only() {
    let server = server(&[]);
    let held = connect(&server, &token());
    let secret = held.welcome["resume"].clone();
    let mut other = connect(&server, &root());
    other.send(json!({"type": "resume", "id": 1, "resume": secret}));
    other.expect_error("bad_request");
    let mut same = connect(&server, &token());
    same.send(json!({"type": "resume", "id": 1, "resume": secret}));
    same.expect(json!({"type": "resumed", "id": 1}));
}

/// A server with a backend's key, in a file of its own.
fn with_key(name: &str, more: &str) -> (Server, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("fanfare-{name}-{}.toml", std::process::id()));
    let mut hashed = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    std::io::Write::write_all(&mut hashed.stdin.take().expect("it is piped"), KEY.as_bytes()).expect("it reads");
    let hash = String::from_utf8(hashed.wait_with_output().expect("it ends").stdout).expect("digits");
    let hash = hash.split(' ').next().expect("digits first");
    let text = format!("[[keys]]\nname = \"billing\"\nsha256 = {hash:?}\npublish = [\"invoices.>\"]\n{more}");
    std::fs::write(&path, text).expect("a file");
    let mut command = configured(&[]);
    command.arg("--config").arg(&path);
    (Server::run(command), path)
}

#[test]
fn backends_show_keys() {
    let (server, path) = with_key("keys", "");
    let publish = |key: &str, topic: &str| {
        let body = json!({"topic": topic, "data": 1}).to_string();
        request(&server, "POST", "/v1/publish", &[("X-API-Key", key)], body.as_bytes())
    };
    assert_eq!(publish(KEY, "invoices.1").status, 200);
    publish(KEY, "other").expect_error(403, "forbidden");
    publish("another", "invoices.1").expect_error(401, "unauthorized");
    publish("", "invoices.1").expect_error(401, "unauthorized");
    // Keys are no tokens.
    let bearer = format!("Bearer {KEY}");
    assert_eq!(Client::dial(&server, "/ws", &[("Authorization", &bearer)], &[]).err(), Some(401));
    let mut client = welcomed(Client::dial(&server, "/ws", &[("X-API-Key", KEY)], &[]));
    assert_eq!(client.publish("invoices.1", json!(2)), 2);
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn calls_for_administrators_need_the_right() {
    let server = server(&[("auth.protect_metrics", "true")]);
    let (root, ana) = (format!("Bearer {}", root()), format!("Bearer {}", token()));
    for target in ["/v1/topics", "/metrics"] {
        request(&server, "GET", target, &[], b"").expect_error(401, "unauthorized");
        request(&server, "GET", target, &[("Authorization", &ana)], b"").expect_error(403, "forbidden");
        assert_eq!(request(&server, "GET", target, &[("Authorization", &root)], b"").status, 200, "{target}");
    }
    for target in ["/healthz", "/readyz", "/"] {
        assert_eq!(request(&server, "GET", target, &[], b"").status, 200, "{target}");
    }
    for target in ["/v1/topics/news.a/history", "/v1/topics/news.a/presence"] {
        request(&server, "GET", target, &[], b"").expect_error(401, "unauthorized");
        request(&server, "GET", target, &[("Authorization", &ana)], b"").expect_error(403, "forbidden");
    }
    let target = "/v1/topics/room.1/history";
    assert_eq!(request(&server, "GET", target, &[("Authorization", &ana)], b"").status, 200);
}

#[test]
fn an_administrator_sends_a_connection_away() {
    let server = server(&[]);
    let mut client = connect(&server, &token());
    let mut other = connect(&server, &token());
    let target = format!("/v1/connections/{}", client.welcome["connection"].as_str().expect("a name"));
    let delete = |target: &str, token: &str| {
        request(&server, "DELETE", target, &[("Authorization", &format!("Bearer {token}"))], b"")
    };
    request(&server, "DELETE", &target, &[], b"").expect_error(401, "unauthorized");
    delete(&target, &token()).expect_error(403, "forbidden");
    client.expect_quiet();
    assert_eq!(delete(&target, &root()).status, 204);
    client.expect_goodbye(4403);
    // It is gone as soon as the server has seen its end.
    drop(client);
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while delete(&target, &root()).status != 404 {
        assert!(std::time::Instant::now() < deadline, "it never goes");
    }
    for unknown in ["/v1/connections/", "/v1/connections/0", "/v1/connections/%2e", "/v1/connections/-1"] {
        delete(unknown, &root()).expect_error(404, "bad_request");
    }
    assert_eq!(request(&server, "POST", &target, &[], b"").status, 405);
    other.expect_quiet();
}

#[test]
fn an_administrator_sees_who_is_connected() {
    let server = server(&[]);
    let client = connect(&server, &token());
    let target = "/v1/connections";
    request(&server, "GET", target, &[], b"").expect_error(401, "unauthorized");
    let with = |token: &str| request(&server, "GET", target, &[("Authorization", &format!("Bearer {token}"))], b"");
    with(&token()).expect_error(403, "forbidden");
    let listed = with(&root()).json();
    assert_eq!(listed["connections"][0]["subject"], "ana");
    assert_eq!(listed["connections"][0]["connection"], client.welcome["connection"]);
    assert_eq!(request(&server, "POST", target, &[], b"").status, 405);
}

#[test]
fn streams_of_events_take_a_token_in_the_query_and_end_with_it() {
    let server = server(&[]);
    request(&server, "GET", "/v1/events?topic=news.a", &[], b"").expect_error(401, "unauthorized");
    let target = |topic: &str, token: &str| format!("/v1/events?topic={topic}&token={token}");
    request(&server, "GET", &target("news.a", "nonsense"), &[], b"").expect_error(401, "unauthorized");
    request(&server, "GET", &target("other", &token()), &[], b"").expect_error(403, "forbidden");
    // It ends by itself, or this would wait for ever.
    let reply = request(&server, "GET", &target("news.a", &sign(&ana(2))), &[], b"");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.status == 200 && text.contains("event: subscribed") && text.contains("\"code\":4401"), "{text}");
}

#[test]
fn the_anonymous_have_the_rights_that_they_are_given() {
    let server = server(&[("anonymous.subscribe", "public.>")]);
    let mut client = welcomed(Client::dial(&server, "/ws", &[], &[]));
    client.subscribe("public.a");
    client.send(json!({"type": "subscribe", "id": 1, "topic": "news.a"}));
    client.expect_error("unauthorized");
    client.send(json!({"type": "publish", "id": 1, "topic": "public.a", "data": 1}));
    client.expect_error("unauthorized");
    client.send(json!({"type": "auth", "id": 1, "token": sign(&json!({"sub": "ana", "exp": now() + 600,
        "fanfare": {"subscribe": [">"]}}))}));
    assert_eq!(client.recv()["type"], "authenticated");
    client.subscribe("news.a");
    // A bad token is refused also where none is needed.
    assert_eq!(Client::dial(&server, "/ws", &[("Authorization", "Bearer x")], &[]).err(), Some(401));
}

#[test]
fn with_credentials_only_the_own_host_and_listed_origins_count() {
    let server = server(&[("server.origins", "https://app.example.com")]);
    let bearer = format!("Bearer {}", token());
    let status = |host: &str, origin: &str| {
        let headers = [("Authorization", &*bearer), ("Host", host), ("Origin", origin)];
        request(&server, "POST", "/v1/publish", &headers, br#"{"topic":"room.1","data":1}"#).status
    };
    assert_eq!(status("push.example", "https://push.example"), 200);
    assert_eq!(status("localhost", "https://app.example.com"), 200);
    assert_eq!(status("localhost:7070", "http://localhost:5173"), 403);
    assert_eq!(status("localhost", "https://evil.example"), 403);
}

#[test]
fn no_log_holds_what_was_shown() {
    let mut command = configured(&[]);
    command.env("FANFARE_LOG", "trace").stderr(Stdio::piped());
    let mut server = Server::run(command);
    let mut stderr = server.child.stderr.take().expect("it is piped");
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).map(|_| log)
    });
    let secrets = ["xq-header", "xq-query", "xq-item", "xq-key", "xq-auth", "xq-resume"];
    let _ = Client::dial(&server, "/ws", &[("Authorization", "Bearer xq-header")], &[]);
    let _ = Client::dial(&server, "/ws?token=xq-query", &[], &[]);
    let _ = Client::dial(&server, "/ws", &[], &["fanfare.token.xq-item"]);
    let _ = request(&server, "GET", "/v1/events?topic=a&token=xq-query", &[], b"");
    let _ = request(&server, "GET", "/v1/topics", &[("X-API-Key", "xq-key")], b"");
    let mut client = connect(&server, &token());
    client.send(json!({"type": "auth", "id": 1, "token": "xq-auth"}));
    client.expect_error("unauthorized");
    client.send(json!({"type": "resume", "id": 1, "resume": "xq-resume"}));
    client.expect_error("bad_request");
    drop((client, server));
    let log = log.join().expect("it only reads").expect("it is text");
    assert!(log.contains("listening"), "{log}");
    let shown = token();
    let signature = shown.rsplit_once('.').expect("three parts").1;
    for secret in secrets.into_iter().chain([SECRET, signature]) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn the_command_makes_tokens_and_keys_that_count() {
    let server = server(&[]);
    let fanfare = |arguments: &[&str]| {
        let mut fanfare = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        fanfare.args(arguments).env("FANFARE_AUTH__SECRETS", format!("[{SECRET:?}]"));
        let output = fanfare.output().expect("the command starts");
        (output.status.success(), String::from_utf8(output.stdout).expect("text").trim_end().to_owned())
    };
    let (made, token) = fanfare(&["token", "--subject", "ana", "--subscribe", "room.{sub}", "--publish", "room.*"]);
    assert!(made);
    expect_ana(connect(&server, &token));
    let url = format!("ws://{}/ws", server.address());
    assert!(fanfare(&["pub", "room.x", "1", "--url", &url, "--token", &token]).0);
    assert!(!fanfare(&["pub", "room.x", "1", "--url", &url]).0);
    assert!(!fanfare(&["pub", "other", "1", "--url", &url, "--token", &token]).0);

    let (made, text) = fanfare(&["token", "--api-key", "billing", "--publish", "invoices.>"]);
    assert!(made);
    let path = std::env::temp_dir().join(format!("fanfare-made-{}.toml", std::process::id()));
    std::fs::write(&path, &text).expect("a file");
    assert!(fanfare(&["check", "--config", path.to_str().expect("text")]).0, "{text}");
    let mut with_key = command(&[]);
    with_key.arg("--config").arg(&path);
    let server = Server::run(with_key);
    let key = text.lines().next().and_then(|line| line.strip_prefix("# X-API-Key: ")).expect("the key comes first");
    let reply = request(&server, "POST", "/v1/publish", &[("X-API-Key", key)], br#"{"topic":"invoices.1","data":1}"#);
    assert_eq!(reply.status, 200);
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_key_that_cannot_be_used_keeps_the_server_from_starting() {
    for (setting, value) in [
        ("auth.public_key_files", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys/weak.pub.pem")),
        ("auth.public_key_files", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys/rsa.pem")),
        ("auth.jwks_file", "/nonexistent/keys.json"),
        ("auth.secret_files", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys/missing")),
    ] {
        let output = command(&[(setting, value)]).stderr(Stdio::piped()).output().expect("the command starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(setting), "{said}");
    }
}

const EC: &[u8] = include_bytes!("../data/keys/ec.pem");
const ED: &[u8] = include_bytes!("../data/keys/ed.pem");

/// A key's public half for a document of keys, and a token of Ana's that it has signed.
fn jwk_and_token(key: &EncodingKey, algorithm: Algorithm) -> (Value, String) {
    let jwk = Jwk::from_encoding_key(key, algorithm).expect("a public half");
    (json!(jwk), encode(&Header::new(algorithm), &ana(600), key).expect("a key"))
}

#[test]
fn a_document_of_keys_is_read_again() {
    let (ec, ec_token) = jwk_and_token(&EncodingKey::from_ec_pem(EC).expect("a key"), Algorithm::ES256);
    let (ed, ed_token) = jwk_and_token(&EncodingKey::from_ed_pem(ED).expect("a key"), Algorithm::EdDSA);
    let path = std::env::temp_dir().join(format!("fanfare-keys-{}.json", std::process::id()));
    let write = |text: &str| {
        // As a whole: it may be read at any moment.
        let other = path.with_extension("new");
        std::fs::write(&other, text).and_then(|()| std::fs::rename(&other, &path)).expect("a file");
    };
    write(&json!({"keys": [ec]}).to_string());
    let server = server(&[("auth.jwks_file", path.to_str().expect("UTF-8")), ("auth.jwks_reread_ms", "100")]);
    let status = |token: &str| {
        let bearer = format!("Bearer {token}");
        request(&server, "GET", "/v1/topics/room.1/history", &[("Authorization", &bearer)], b"").status
    };
    assert_eq!((status(&ec_token), status(&ed_token), status(&token())), (200, 401, 200));
    write(&json!({"keys": [ed]}).to_string());
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while (status(&ec_token), status(&ed_token)) != (401, 200) {
        assert!(std::time::Instant::now() < deadline, "it is not read again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // One that cannot be read changes nothing.
    write("{");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!((status(&ec_token), status(&ed_token)), (401, 200));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn issuers_audiences_and_secrets_in_files_are_those_that_are_configured() {
    let path = std::env::temp_dir().join(format!("fanfare-secret-{}", std::process::id()));
    std::fs::write(&path, format!("{SECRET}\n")).expect("a file");
    let settings = [
        ("auth.secret_files", path.to_str().expect("UTF-8")),
        ("auth.issuers", "https://id.example"),
        ("auth.audiences", "fanfare,other"),
        ("auth.require_expiry", "false"),
    ];
    let server = Server::with(&settings);
    let status = |issuer: &str, audience: &str, exp: Option<u64>| {
        let rights = json!({"history": ["room.*"]});
        let mut claims = json!({"sub": "ana", "iss": issuer, "aud": audience, "fanfare": rights});
        if let Some(exp) = exp {
            claims["exp"] = json!(exp);
        }
        let bearer = format!("Bearer {}", sign(&claims));
        request(&server, "GET", "/v1/topics/room.1/history", &[("Authorization", &bearer)], b"").status
    };
    assert_eq!(status("https://id.example", "fanfare", Some(now() + 600)), 200);
    assert_eq!(status("https://id.example", "other", None), 200);
    assert_eq!(status("https://evil.example", "fanfare", None), 401);
    assert_eq!(status("https://id.example", "another", None), 401);
    std::fs::remove_file(path).expect("it is there");
}
