//! Passes of all kinds, and what they allow.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Admitted, Denied, Gate, Pass, Publication, Rules};
use crate::auth::{
    AuthError, AuthFuture, Authenticator, Client, Credential, Hooks, Identity, Permissions, Refusal, Right,
};
use crate::broker::{Broker, ConnectionId};
use crate::protocol::{Data, Encoding, ErrorCode, Filter};

/// Knows `ana`, `bob`, and what else the tests need.
struct House;

impl Authenticator for House {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        let reader = || Permissions::none().with(Right::Subscribe, "news.>").expect("a pattern");
        let judged = match credential {
            Credential::Token("ana") => Ok(Identity::new(reader()).subject("ana")),
            Credential::Token("ana, writing") => {
                let writer = reader().with(Right::Publish, "news.*").expect("a pattern");
                Ok(Identity::new(writer.with(Right::History, "news.*").expect("a pattern")).subject("ana"))
            }
            Credential::Token("bob, writing") => {
                Ok(Identity::new(reader().with(Right::Publish, "news.*").expect("a pattern")).subject("bob"))
            }
            Credential::Token("bob") => Ok(Identity::new(reader()).subject("bob")),
            Credential::Token("brief") => {
                Ok(Identity::new(reader()).subject("ana").expires(SystemTime::now() + Duration::from_secs(60)))
            }
            Credential::Key("root") => Ok(Identity::new(Permissions::none().with_admin(true)).subject("root")),
            Credential::Token("banned") => Err(AuthError::Forbidden("banned")),
            Credential::Token("old") => Err(AuthError::Expired),
            Credential::Token("later") => Err(AuthError::Unavailable),
            _ => Err(AuthError::Invalid("nobody")),
        };
        Box::pin(std::future::ready(judged))
    }
}

fn gate(anonymous: Permissions) -> Gate {
    Gate::new(Broker::new(), Rules { authenticator: Some(Arc::new(House)), anonymous: anonymous.into(), hooks: None })
}

async fn pass(token: &str) -> Pass {
    gate(Permissions::none()).admit(Some(Credential::Token(token)), None).await.expect("a token of the test")
}

fn code<T>(result: Result<T, Denied>) -> Option<ErrorCode> {
    result.err().map(|denied| denied.code)
}

fn subscribe(pass: &Pass, filter: &str) -> Option<ErrorCode> {
    code(pass.subscribe(Filter::parse(filter).expect("a filter")))
}

fn publish(pass: &Pass, topic: &str) -> Option<ErrorCode> {
    code(pass.publish_to(topic, None).and_then(|topic| pass.publish(topic, one())))
}

fn one() -> Publication<'static> {
    let data = Data::already_checked(Encoding::Json, Bytes::from_static(b"1"));
    Publication { data, key: None, idempotency_key: None, skip: None }
}

#[tokio::test]
async fn a_pass_allows_what_its_permissions_say_and_nothing_else() {
    const NO: Option<ErrorCode> = Some(ErrorCode::Forbidden);
    let ana = pass("ana, writing").await;
    for (filter, expected) in [("news.a", None), ("news.>", None), ("news", NO), (">", NO), ("$stats", NO)] {
        assert_eq!(subscribe(&ana, filter), expected, "{filter}");
    }
    for (topic, expected) in
        [("news.a", None), ("news.a.b", NO), ("other", NO), ("$stats", NO), ("a..b", Some(ErrorCode::BadTopic))]
    {
        assert_eq!(publish(&ana, topic), expected, "{topic}");
    }
    assert_eq!(code(ana.history("news.a", None, None)), None);
    assert_eq!(code(ana.history("news.a.b", None, None)), NO);
    assert_eq!(code(ana.require_admin()), NO);
    // What may not be published to does not come into being by trying, nor does what may not be read.
    assert_eq!(ana.broker.registry().topics(), 1);

    // The same for a topic that somebody else has made.
    ana.broker.publish("other", &1).await.expect("there is room");
    assert_eq!(publish(&ana, "other"), NO);
}

#[tokio::test]
async fn a_publish_is_repeated_by_its_subject_and_to_its_topic_only() {
    let gate = gate(Permissions::all());
    let mut offsets = Vec::new();
    for (token, topic) in [
        (Some("ana, writing"), "news.a"),
        (Some("ana, writing"), "news.a"),
        (Some("bob, writing"), "news.a"),
        (None, "news.a"),
        (Some("bob, writing"), "news.b"),
        (Some("bob, writing"), "news.a"),
        (None, "news.a"),
    ] {
        let pass = gate.admit(token.map(Credential::Token), None).await.expect("a token of the test");
        let topic = pass.publish_to(topic, None).expect("it may publish there");
        let publication = Publication { idempotency_key: Some("order-1"), ..one() };
        match pass.publish(topic, publication) {
            Ok(Admitted::Placed(placed)) => offsets.push(placed.seq.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offsets, [1, 1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn to_administer_is_a_right_of_its_own() {
    let root = gate(Permissions::none()).admit(Some(Credential::Key("root")), None).await.expect("a key");
    assert_eq!(code(root.require_admin()), None);
    assert_eq!(subscribe(&root, "$stats"), None);
    assert_eq!(subscribe(&root, "news.a"), Some(ErrorCode::Forbidden));
    assert_eq!(publish(&root, "$stats"), Some(ErrorCode::Forbidden));
}

#[tokio::test]
async fn who_shows_nothing_is_a_stranger_or_has_the_rights_of_the_anonymous() {
    let stranger = gate(Permissions::none()).admit(None, None).await.expect("strangers wait");
    assert!(stranger.is_stranger());
    assert_eq!(subscribe(&stranger, "news.a"), Some(ErrorCode::Unauthorized));
    assert_eq!(publish(&stranger, "news.a"), Some(ErrorCode::Unauthorized));
    assert_eq!(code(stranger.require_admin()), Some(ErrorCode::Unauthorized));

    let public = Permissions::none().with(Right::Subscribe, "public.>").expect("a pattern");
    let anonymous = gate(public).admit(None, None).await.expect("they are let in");
    assert!(!anonymous.is_stranger());
    assert_eq!(subscribe(&anonymous, "public.a"), None);
    assert_eq!(subscribe(&anonymous, "news.a"), Some(ErrorCode::Unauthorized), "a token may help");
}

#[tokio::test]
async fn where_nobody_is_asked_everybody_may_and_what_they_show_is_not_looked_at() {
    let open = Gate::new(Broker::new(), Rules::default());
    for shown in [None, Some(Credential::Token("nobody's"))] {
        let pass = open.admit(shown, None).await.expect("everybody is let in");
        assert_eq!((subscribe(&pass, "$stats"), publish(&pass, "a"), code(pass.require_admin())), (None, None, None));
    }
    let pass = open.admit(None, None).await.expect("everybody is let in");
    assert_eq!(open.renew(&pass, "ana").await.map(|_| ()).map_err(|denied| denied.code), Err(ErrorCode::BadRequest));
}

#[tokio::test]
async fn credentials_that_do_not_count_are_refused_and_counted_even_where_none_are_needed() {
    let gate = gate(Permissions::all());
    for (token, expected) in [
        ("nobody's", ErrorCode::Unauthorized),
        ("", ErrorCode::Unauthorized),
        ("old", ErrorCode::Unauthorized),
        ("banned", ErrorCode::Forbidden),
        ("later", ErrorCode::Overloaded),
    ] {
        assert_eq!(code(gate.admit(Some(Credential::Token(token)), None).await), Some(expected), "{token}");
    }
    assert_eq!(gate.refused(), 5);
}

#[tokio::test]
async fn a_pass_is_renewed_for_the_same_subject_only() {
    let gate = gate(Permissions::none());
    let before = pass("ana").await;
    let renewed = gate.renew(&before, "ana, writing").await.expect("the same subject");
    assert!(!renewed.narrowed);
    assert_eq!(publish(&renewed.pass, "news.a"), None);
    assert!(gate.renew(&renewed.pass, "ana").await.expect("the same subject").narrowed);
    assert_eq!(code(gate.renew(&before, "bob").await), Some(ErrorCode::Forbidden));
    assert_eq!(code(gate.renew(&before, "old").await), Some(ErrorCode::Unauthorized));

    let left = gate.renew(&before, "brief").await.expect("the same subject").pass.expires_in_ms();
    assert!(left.is_some_and(|left| (50_000..=60_000).contains(&left)), "{left:?}");
    assert_eq!(before.expires_in_ms(), None);
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_does_not_answer_is_waited_for_no_longer_than_ten_seconds() {
    struct Silent;
    impl Authenticator for Silent {
        fn authenticate<'a>(&'a self, _: Credential<'a>) -> AuthFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let rules = Rules { authenticator: Some(Arc::new(Silent)), ..Rules::default() };
    let begun = tokio::time::Instant::now();
    let admitted = Gate::new(Broker::new(), rules).admit(Some(Credential::Token("ana")), None).await;
    assert_eq!(code(admitted), Some(ErrorCode::Overloaded));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

/// Writes down what it is asked, and refuses what has `no` in it.
#[derive(Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, client: &Client<'_>, what: &str) -> Result<(), Refusal> {
        let who = client.subject.unwrap_or("nobody");
        self.0.lock().expect("nobody panics").push(format!("{who} {} {what}", client.connection.unwrap_or("-")));
        if what.contains("no") { Err(Refusal("the house says no".into())) } else { Ok(()) }
    }
}

impl Hooks for Diary {
    fn connect(&self, client: &Client<'_>) -> Result<(), Refusal> {
        self.note(client, "comes")?;
        if client.subject == Some("bob") { Err(Refusal("not bob".into())) } else { Ok(()) }
    }

    fn subscribe(&self, client: &Client<'_>, filter: &str) -> Result<(), Refusal> {
        self.note(client, filter)
    }

    fn publish(&self, client: &Client<'_>, topic: &str, data: Data) -> Result<Data, Refusal> {
        self.note(client, topic)?;
        let changed = format!("[{}]", String::from_utf8_lossy(data.bytes()));
        Data::json(changed).map_err(|error| Refusal(error.to_string()))
    }

    fn disconnect(&self, client: &Client<'_>) {
        self.note(client, "goes").expect("nothing against it");
    }
}

#[tokio::test]
async fn hooks_are_asked_after_the_permissions_and_may_change_or_refuse() {
    let diary = Diary::default();
    let notes = Arc::clone(&diary.0);
    let rules = Rules { authenticator: Some(Arc::new(House)), hooks: Some(Arc::new(diary)), ..Rules::default() };
    let gate = Gate::new(Broker::new(), rules);
    let connection = Some(ConnectionId(36));

    let bob = gate.admit(Some(Credential::Token("bob")), connection).await;
    assert_eq!(code(bob), Some(ErrorCode::Forbidden));
    let stranger = gate.admit(None, connection).await.expect("strangers wait");
    let ana = gate.renew(&stranger, "ana, writing").await.expect("a token").pass;
    assert_eq!(subscribe(&ana, "other"), Some(ErrorCode::Forbidden));
    assert_eq!((subscribe(&ana, "news.a"), subscribe(&ana, "news.no")), (None, Some(ErrorCode::Forbidden)));
    assert_eq!(publish(&ana, "news.no"), Some(ErrorCode::Forbidden));
    let topic = ana.publish_to("news.a", None).expect("it is allowed");
    let Ok(Admitted::Placed(placed)) = ana.publish(topic, one()) else { panic!("there is room") };
    let mut published = Vec::new();
    let _ = placed.topic.ring().read(placed.seq, |_, message| {
        published.extend_from_slice(message.data().bytes());
        std::ops::ControlFlow::Break(())
    });
    assert_eq!(published, b"[1]");
    ana.disconnect();
    stranger.disconnect();
    let backend = gate.admit(Some(Credential::Token("ana, writing")), None).await.expect("a token");
    assert_eq!(publish(&backend, "news.b"), None);

    let expected = "bob 10 comes, ana 10 comes, ana 10 news.a, ana 10 news.no, ana 10 news.no, ana 10 news.a, \
                    ana 10 goes, ana - news.b";
    assert_eq!(notes.lock().expect("nobody panics").join(", "), expected);
}

#[tokio::test]
async fn nothing_that_is_displayed_holds_what_was_shown() {
    let text = format!("{:?} {:?}", gate(Permissions::none()), pass("ana, writing").await);
    assert!(!text.contains("ana, writing"), "{text}");
}
