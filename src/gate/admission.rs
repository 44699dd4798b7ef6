//! Who is let in, and with which pass.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::{Denied, Pass};
use crate::auth::{AuthError, Authenticator, Client, Credential, Hooks, Identity, Permissions, Refusal};
use crate::broker::{Broker, ConnectionId};
use crate::protocol::ErrorCode;

/// How long an authenticator may take.
const AUTHENTICATE_TIME: Duration = Duration::from_secs(10);

/// What admission goes by, the same for everybody.
#[derive(Default)]
pub(crate) struct Rules {
    /// Without one nobody is asked who they are.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    /// What those may do who show nothing, where others show credentials.
    pub(crate) anonymous: Arc<Permissions>,
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
}

/// Gives out passes. One pointer, as each connection holds it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Parts>);

struct Parts {
    broker: Broker,
    rules: Rules,
    /// Credentials that did not count.
    refused: AtomicU64,
}

/// Whose pass it is.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    /// Nobody is asked who they are.
    Anybody,
    /// Has shown no credentials yet, and may do nothing without.
    Stranger,
    /// Has shown none either, and may do something all the same.
    Anonymous(Arc<Permissions>),
    /// Somebody who has shown credentials.
    Known(Arc<Identity>),
}

/// A pass in place of an earlier one.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) pass: Pass,
    /// Whether the earlier one allowed what this one does not.
    pub(crate) narrowed: bool,
}

impl Gate {
    pub(crate) fn new(broker: Broker, rules: Rules) -> Self {
        Gate(Arc::new(Parts { broker, rules, refused: AtomicU64::new(0) }))
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn asks(&self) -> bool {
        self.0.rules.authenticator.is_some()
    }

    /// Whether somebody who shows nothing may do something.
    pub(crate) fn serves_strangers(&self) -> bool {
        !self.asks() || !self.0.rules.anonymous.is_none()
    }

    /// How many credentials did not count.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The pass of whoever shows this, or shows nothing. `connection` is `None` over HTTP.
    ///
    /// # Errors
    ///
    /// Credentials that are shown and do not count, and whom the host's hook refuses.
    pub(crate) async fn admit(
        &self,
        shown: Option<Credential<'_>>,
        connection: Option<ConnectionId>,
    ) -> Result<Pass, Denied> {
        let holder = match (&self.0.rules.authenticator, shown) {
            (None, _) => Holder::Anybody,
            (Some(_), None) if self.serves_strangers() => Holder::Anonymous(Arc::clone(&self.0.rules.anonymous)),
            (Some(_), None) => Holder::Stranger,
            (Some(authenticator), Some(credential)) => {
                Holder::Known(Arc::new(self.judge(&**authenticator, credential).await?))
            }
        };
        let pass = Pass::new(self.0.broker.clone(), holder, self.0.rules.hooks.clone(), connection);
        if !pass.is_stranger() {
            pass.connect()?;
        }
        Ok(pass)
    }

    /// The pass of somebody who may do nothing.
    pub(crate) fn stranger(&self) -> Pass {
        Pass::new(self.0.broker.clone(), Holder::Stranger, None, None)
    }

    /// The pass of somebody who shows a token in the midst of a connection.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit); and a token of somebody else, for what the connection did so far it did
    /// under another name.
    pub(crate) async fn renew(&self, pass: &Pass, token: &str) -> Result<Renewed, Denied> {
        let Some(authenticator) = &self.0.rules.authenticator else {
            return Err(Denied::new(ErrorCode::BadRequest, "no credentials are configured here"));
        };
        let identity = self.judge(&**authenticator, Credential::Token(token)).await?;
        if pass.subject().is_some_and(|subject| identity.subject.as_deref() != Some(subject)) {
            return Err(Denied::new(ErrorCode::Forbidden, "the token is of another subject than the connection"));
        }
        let narrowed = pass.permissions().is_some_and(|before| !identity.permissions.cover(before));
        let renewed = Pass { holder: Holder::Known(Arc::new(identity)), ..pass.clone() };
        if pass.is_stranger() {
            renewed.connect()?;
        }
        Ok(Renewed { pass: renewed, narrowed })
    }

    async fn judge(&self, authenticator: &dyn Authenticator, shown: Credential<'_>) -> Result<Identity, Denied> {
        let judged = timeout(AUTHENTICATE_TIME, authenticator.authenticate(shown)).await;
        judged.unwrap_or(Err(AuthError::Unavailable)).map_err(|error| {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            match error {
                AuthError::Unavailable => Denied::overloaded("credentials cannot be checked at the moment"),
                AuthError::Forbidden(_) => Denied::new(ErrorCode::Forbidden, error.to_string()),
                AuthError::Invalid(_) | AuthError::Expired => Denied::new(ErrorCode::Unauthorized, error.to_string()),
            }
        })
    }
}

impl Pass {
    pub(super) fn new(
        broker: Broker,
        holder: Holder,
        hooks: Option<Arc<dyn Hooks>>,
        connection: Option<ConnectionId>,
    ) -> Self {
        Pass { broker, holder, hooks, connection }
    }

    /// Whether nothing has been shown yet, and nothing is allowed without.
    pub(crate) fn is_stranger(&self) -> bool {
        matches!(self.holder, Holder::Stranger)
    }

    /// The name that was proven.
    pub(crate) fn subject(&self) -> Option<&Arc<str>> {
        match &self.holder {
            Holder::Known(identity) => identity.subject.as_ref(),
            Holder::Anybody | Holder::Stranger | Holder::Anonymous(_) => None,
        }
    }

    /// What is allowed; `None` where that is everything, or nothing.
    pub(super) fn permissions(&self) -> Option<&Permissions> {
        match &self.holder {
            Holder::Anybody | Holder::Stranger => None,
            Holder::Anonymous(permissions) => Some(permissions),
            Holder::Known(identity) => Some(&identity.permissions),
        }
    }

    /// In how many milliseconds the credentials end; `None` if they do not.
    pub(crate) fn expires_in_ms(&self) -> Option<u64> {
        let Holder::Known(identity) = &self.holder else { return None };
        let left = identity.expires?.duration_since(SystemTime::now()).unwrap_or_default();
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn connect(&self) -> Result<(), Denied> {
        match (&self.hooks, self.connection) {
            (Some(hooks), Some(_)) => self.with_client(|client| hooks.connect(client)).map_err(Denied::from),
            _ => Ok(()),
        }
    }

    /// The connection has ended.
    pub(crate) fn disconnect(&self) {
        if let Some(hooks) = &self.hooks
            && !self.is_stranger()
        {
            self.with_client(|client| hooks.disconnect(client));
        }
    }

    /// Calls `hook` with who this is.
    pub(super) fn with_client<T>(&self, hook: impl FnOnce(&Client<'_>) -> T) -> T {
        let connection = self.connection.map(|id| id.to_string());
        hook(&Client { connection: connection.as_deref(), subject: self.subject().map(|subject| &**subject) })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("asks", &self.asks()).finish_non_exhaustive()
    }
}

impl From<Refusal> for Denied {
    fn from(Refusal(message): Refusal) -> Self {
        Denied::new(ErrorCode::Forbidden, message)
    }
}
