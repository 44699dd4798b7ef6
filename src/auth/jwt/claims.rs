//! What a token claims, and whether it counts here and now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::header::decode;
use super::roles::Roles;
use crate::auth::{AuthError, Identity, PermissionClaims};

/// What is asked of claims beyond a signature.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) issuers: Vec<String>,
    pub(super) audiences: Vec<String>,
    /// How far the clocks of issuers may be off.
    pub(super) leeway: Duration,
    pub(super) require_expiry: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { issuers: Vec::new(), audiences: Vec::new(), leeway: Duration::from_secs(10), require_expiry: true }
    }
}

/// A subject is shown to others; a name longer than a topic's is none.
const SUBJECT_BYTES_MAX: usize = 255;

/// Claims that mean something here; unknown ones are passed over (RFC 7519, 4).
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    fanfare: PermissionClaims,
}

/// RFC 7519, 4.1.3: an array of strings, or a single one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    pub(super) fn parse(payload: &str) -> Result<Self, AuthError> {
        const UNREADABLE: AuthError = AuthError::Invalid("the token's claims cannot be read");
        let json = decode(payload).ok_or(UNREADABLE)?;
        serde_json::from_slice(&json).map_err(|_| UNREADABLE)
    }

    /// Who it is, if the claims count at the time `now`.
    pub(super) fn identity(self, rules: &Rules, roles: &Roles, now: SystemTime) -> Result<Identity, AuthError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = self.exp.map(|exp| seconds(exp).saturating_add(rules.leeway));
        // RFC 7519, 4.1.4: on or after which the JWT must not be accepted.
        if expires.is_some_and(|expires| now >= expires) {
            return Err(AuthError::Expired);
        }
        if expires.is_none() && rules.require_expiry {
            return Err(AuthError::Invalid("the token has no end"));
        }
        if self.nbf.is_some_and(|nbf| now.saturating_add(rules.leeway) < seconds(nbf)) {
            return Err(AuthError::Invalid("the token is not valid yet"));
        }
        let issued = rules.issuers.is_empty() || self.iss.is_some_and(|iss| rules.issuers.contains(&iss));
        if !issued {
            return Err(AuthError::Invalid("the token is of another issuer"));
        }
        if !is_for(self.aud.as_ref(), &rules.audiences) {
            return Err(AuthError::Invalid("the token is for another audience"));
        }
        if self.sub.as_ref().is_some_and(|sub| sub.len() > SUBJECT_BYTES_MAX || sub.contains(char::is_control)) {
            return Err(AuthError::Invalid("the token's subject is too long or holds control characters"));
        }
        let mut identity = Identity::new(roles.permissions(self.fanfare, self.sub.as_deref()));
        if let Some(sub) = self.sub {
            identity = identity.subject(sub);
        }
        // What is too far away to be a time has no end that anybody will see.
        if let Some(at) = expires.and_then(|expires| UNIX_EPOCH.checked_add(expires)) {
            identity = identity.expires(at);
        }
        Ok(identity)
    }
}

/// RFC 7519, 4.1.3: if the principal does not identify itself with a value in `aud` when it is present,
/// the JWT must be rejected. Where audiences are configured it has to be present.
fn is_for(claimed: Option<&Audience>, ours: &[String]) -> bool {
    match claimed {
        None => ours.is_empty(),
        Some(Audience::One(one)) => ours.contains(one),
        Some(Audience::Many(many)) => many.iter().any(|one| ours.contains(one)),
    }
}

/// RFC 7519, 2: a number of seconds since 1970, which need not be whole.
fn seconds(date: f64) -> Duration {
    if date <= 0.0 { Duration::ZERO } else { Duration::try_from_secs_f64(date).unwrap_or(Duration::MAX) }
}
