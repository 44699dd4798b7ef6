//! Events as the commands `pub` and `sub` need them: only the fields that they act on.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::json_line::NotAnEvent;

/// An event from the server.
#[derive(Debug)]
pub(crate) enum Event {
    Welcome(Welcome),
    /// One of the topics asked for is followed from now on.
    Subscribed(Subscribed),
    /// The publish of that number is done.
    Published(u64),
    /// A `message` or `gap`, to be shown as it is.
    Shown(String),
    Error(Refused),
    Goodbye(Goodbye),
    /// What neither command asks for. A later server may have more to say than this knows.
    Other,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) heartbeat_ms: u64,
    pub(crate) max_message_bytes: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Subscribed {
    pub(crate) topic: String,
}

/// A command that was refused.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{}{code}: {message}", topic.as_ref().map(|topic| format!("{topic}: ")).unwrap_or_default())]
pub(crate) struct Refused {
    pub(crate) id: Option<u64>,
    pub(crate) topic: Option<String>,
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) retry_after_ms: Option<u64>,
}

/// What the server says before it closes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Goodbye {
    pub(crate) reason: String,
}

impl Event {
    /// Reads an event from its JSON. A payload is passed over, whatever its depth, and not built.
    pub(crate) fn parse(json: String) -> Result<Event, NotAnEvent> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct Numbered {
            id: Option<u64>,
        }
        let Head { kind } = read(&json)?;
        Ok(match kind.as_str() {
            "message" | "gap" => Event::Shown(json),
            "published" => match read::<Numbered>(&json)?.id {
                Some(id) => Event::Published(id),
                None => Event::Other,
            },
            "subscribed" => Event::Subscribed(read(&json)?),
            "welcome" => Event::Welcome(read(&json)?),
            "error" => Event::Error(read(&json)?),
            "goodbye" => Event::Goodbye(read(&json)?),
            _ => Event::Other,
        })
    }
}

impl Refused {
    /// What an HTTP response says instead of an upgrade, if it speaks this protocol.
    pub(crate) fn from_http(body: &[u8]) -> Option<Refused> {
        #[derive(Deserialize)]
        struct Body {
            error: Refused,
        }
        serde_json::from_slice(body).ok().map(|Body { error }| error)
    }

    /// Whether the same command may succeed later, by the word of the server.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.code.as_str(), "rate_limited" | "overloaded")
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, NotAnEvent> {
    serde_json::from_str(json).map_err(|_| NotAnEvent)
}

/// `text` itself if it is JSON, else the JSON string of it.
pub(crate) fn to_json(text: String) -> String {
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(IgnoredAny) => text,
        // A string always has a JSON form.
        Err(_) => serde_json::Value::String(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Refused, to_json};

    #[test]
    fn messages_and_gaps_are_shown_as_they_are() {
        let deep =
            format!(r#"{{"type":"message","topic":"a","offset":1,"data":{}{}}}"#, "[".repeat(128), "]".repeat(128));
        for json in [r#"{"topic":"a","type":"gap","from":1,"to":2}"#, deep.as_str()] {
            let event = Event::parse(json.to_owned()).expect("an event");
            assert!(matches!(event, Event::Shown(shown) if shown == json));
        }
    }

    #[test]
    fn a_later_server_may_say_more() {
        assert!(matches!(Event::parse(r#"{"type":"new"}"#.to_owned()), Ok(Event::Other)));
        assert!(Event::parse("[]".to_owned()).is_err());
        assert!(Event::parse("{}".to_owned()).is_err());
    }

    #[test]
    fn refusals_name_topic_code_and_reason() {
        let json = r#"{"type":"error","id":4,"topic":"a..b","code":"bad_topic","message":"a segment is empty"}"#;
        let Ok(Event::Error(refused)) = Event::parse(json.to_owned()) else {
            panic!("another event");
        };
        assert_eq!(refused.to_string(), "a..b: bad_topic: a segment is empty");
        assert!(!refused.is_temporary());
        let refused = Refused::from_http(br#"{"error":{"code":"overloaded","message":"full"}}"#).expect("ours");
        assert_eq!(refused.to_string(), "overloaded: full");
        assert!(refused.is_temporary());
        assert!(Refused::from_http(b"<html>").is_none());
    }

    #[test]
    fn text_that_is_no_json_is_a_string() {
        for (text, json) in [
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("5", "5"),
            ("\"a\"", "\"a\""),
            ("hello", "\"hello\""),
            ("", "\"\""),
            ("{\"a\":", "\"{\\\"a\\\":\""),
            ("1 2", "\"1 2\""),
        ] {
            assert_eq!(to_json(text.to_owned()), json);
        }
    }
}
