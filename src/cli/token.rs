//! `fanfare token`: a token or an API key, for trying things out.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::args::TokenArguments;
use super::{complain, environment, say};
use crate::auth::KeyHash;
use crate::config::{Config, Flags};
use crate::server::credentials::secrets;

/// Prints the token, and nothing else, to standard output.
pub(crate) fn make(arguments: &TokenArguments) -> ExitCode {
    let made = match &arguments.api_key {
        Some(name) => Ok(api_key(name, arguments)),
        None => token(arguments),
    };
    match made {
        // Whoever closed standard output does not want to read this.
        Ok(text) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(()) => ExitCode::FAILURE,
    }
}

fn token(arguments: &TokenArguments) -> Result<String, ()> {
    let config = Config::load(arguments.config.as_deref(), environment(), &Flags::default()).map_err(say)?;
    let secrets = secrets(&config).map_err(complain)?;
    let Some(secret) = secrets.first() else {
        complain("there is no secret to sign with: set auth.secrets or auth.secret_files");
        return Err(());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = claims(arguments, &config, now);
    let key = EncodingKey::from_secret(secret);
    encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| complain(format_args!("cannot sign: {error}")))
}

fn claims(arguments: &TokenArguments, config: &Config, now: u64) -> Value {
    let TokenArguments { subscribe, publish, presence, history, admin, .. } = arguments;
    let rights = json!({
        "subscribe": subscribe, "publish": publish, "presence": presence, "history": history, "admin": admin,
    });
    let mut claims = json!({"iat": now, "exp": now.saturating_add(arguments.seconds), "fanfare": rights});
    let named = [
        ("sub", arguments.subject.as_ref()),
        ("iss", config.auth.issuers.first()),
        ("aud", config.auth.audiences.first()),
    ];
    for (claim, value) in named {
        if let Some(value) = value {
            claims[claim] = value.as_str().into();
        }
    }
    claims
}

/// The key, which is shown once, and what a configuration has to say of it.
fn api_key(name: &str, arguments: &TokenArguments) -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    let mut key = "fanfare_".to_owned();
    for byte in bytes {
        let _ = write!(key, "{byte:02x}");
    }
    let mut text = format!("# X-API-Key: {key}\n[[keys]]\nname = {name:?}\nsha256 = {:?}", KeyHash::of(&key).to_hex());
    let lists = [
        ("subscribe", &arguments.subscribe),
        ("publish", &arguments.publish),
        ("presence", &arguments.presence),
        ("history", &arguments.history),
    ];
    for (right, patterns) in lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
        let _ = write!(text, "\n{right} = {patterns:?}");
    }
    if arguments.admin {
        text.push_str("\nadmin = true");
    }
    text
}
