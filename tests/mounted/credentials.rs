//! An authenticator and hooks of the host's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::auth::{
    AuthError, AuthFuture, Authenticator, Client as Guest, Credential, Hooks, Identity, Permissions, Refusal, Right,
};
use fanfare::{Broker, Data, Service};
use serde_json::json;

use crate::client::{Client, until};

/// Asks a database that takes its time.
struct Database;

impl Authenticator for Database {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match credential {
                Credential::Token("t0k3n") => {
                    let permissions = Permissions::none().with(Right::Subscribe, "news.>");
                    let permissions = permissions.and_then(|rights| rights.with(Right::Publish, "news.*"));
                    Ok(Identity::new(permissions.map_err(|_| AuthError::Unavailable)?).subject("ana"))
                }
                _ => Err(AuthError::Invalid("no such session")),
            }
        })
    }
}

/// Writes down who comes and goes, and signs what is published.
#[derive(Clone, Default)]
struct Porter(Arc<Mutex<Vec<String>>>);

impl Porter {
    fn note(&self, guest: &Guest<'_>, what: &str) {
        let who = guest.subject.unwrap_or("nobody");
        self.0.lock().expect("nobody panics").push(format!("{who} {what}"));
    }

    fn notes(&self) -> String {
        self.0.lock().expect("nobody panics").join(", ")
    }
}

impl Hooks for Porter {
    fn connect(&self, guest: &Guest<'_>) -> Result<(), Refusal> {
        self.note(guest, "comes");
        Ok(())
    }

    fn subscribe(&self, guest: &Guest<'_>, filter: &str) -> Result<(), Refusal> {
        self.note(guest, filter);
        if filter == "news.secret" { Err(Refusal("not that one".into())) } else { Ok(()) }
    }

    fn publish(&self, guest: &Guest<'_>, _: &str, data: Data) -> Result<Data, Refusal> {
        let text: String = data.to_typed().map_err(|error| Refusal(error.to_string()))?;
        let signed = format!("{text}, says {}", guest.subject.unwrap_or("nobody"));
        Data::from_serialize(&signed).map_err(|error| Refusal(error.to_string()))
    }

    fn disconnect(&self, guest: &Guest<'_>) {
        self.note(guest, "goes");
    }
}

#[tokio::test]
async fn an_authenticator_may_take_its_time_and_hooks_have_the_last_word() {
    let porter = Porter::default();
    let service = Service::builder(Broker::new()).authenticator(Database).hooks(porter.clone()).build();
    let mut client = Client::connect(&service).await;
    client.send(json!({"type": "auth", "id": 1, "token": "t0k3n"})).await;
    assert_eq!(client.expect("authenticated").await["subject"], "ana");
    client.send(json!({"type": "subscribe", "id": 2, "topics": ["news.secret", "other", "news.a"]})).await;
    for code in ["forbidden", "forbidden"] {
        assert_eq!(client.expect("error").await["code"], code);
    }
    client.expect("subscribed").await;
    client.send(json!({"type": "publish", "topic": "news.a", "data": "hello"})).await;
    assert_eq!(client.expect("message").await["data"], "hello, says ana");
    client.send(json!({"type": "publish", "id": 3, "topic": "news.a", "data": 7})).await;
    assert_eq!(client.expect("error").await["code"], "forbidden");
    drop(client);
    let expected = "ana comes, ana news.secret, ana news.a, ana goes";
    until("the hook hears of the end", || porter.notes() == expected).await;
}

#[tokio::test]
async fn who_is_never_let_in_neither_comes_nor_goes() {
    let porter = Porter::default();
    let service = Service::builder(Broker::new()).authenticator(Database).hooks(porter.clone()).build();
    let mut client = Client::connect(&service).await;
    client.send(json!({"type": "auth", "id": 1, "token": "another"})).await;
    assert_eq!(client.expect("error").await["code"], "unauthorized");
    assert_eq!(client.expect("goodbye").await["code"], 4401);
    drop(client);
    until("the connection is gone", || service.connections() == 0).await;
    assert_eq!(porter.notes(), "");
}

#[tokio::test]
async fn who_shows_nothing_has_as_long_as_the_host_says() {
    let service = Service::builder(Broker::new())
        .authenticator(Database)
        .first_command(Duration::from_millis(50))
        .heartbeat(Duration::from_millis(400), Duration::from_secs(20))
        .build();
    let mut client = Client::connect(&service).await;
    assert_eq!(client.expect("goodbye").await["code"], 4408);

    let public = Permissions::none().with(Right::Subscribe, "public").expect("a name");
    let service = Service::builder(Broker::new()).authenticator(Database).anonymous(public).build();
    let mut client = Client::connect(&service).await;
    client.send(json!({"type": "subscribe", "id": 1, "topic": "public"})).await;
    client.expect("subscribed").await;
}
