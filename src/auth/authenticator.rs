//! What is shown, who it makes somebody, and who decides that.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use super::Permissions;

/// What a client shows to say who it is. A secret: `Debug` does not have it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential<'a> {
    /// A token: from `Authorization: Bearer`, a subprotocol item, the query or an `auth` command.
    Token(&'a str),
    /// A key of a backend: from `X-API-Key`.
    Key(&'a str),
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Token(_) => "Token(..)",
            Credential::Key(_) => "Key(..)",
        })
    }
}

/// Somebody, as their credentials prove.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Identity {
    /// The name that was proven; shown to others where presence or a topic's messages say who it was.
    pub subject: Option<Arc<str>>,
    /// What they may do.
    pub permissions: Arc<Permissions>,
    /// When the credentials end. A connection that has not shown new ones by then is closed.
    pub expires: Option<SystemTime>,
}

impl Identity {
    /// Somebody without a name and without an end.
    pub fn new(permissions: impl Into<Arc<Permissions>>) -> Self {
        Identity { subject: None, permissions: permissions.into(), expires: None }
    }

    /// With a name.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<Arc<str>>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// With an end.
    #[must_use]
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }
}

/// Why credentials do not count. The words are for the client, and hold nothing of what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Nothing that this authenticator knows.
    #[error("{0}")]
    Invalid(&'static str),
    /// They did count once.
    #[error("the token has expired")]
    Expired,
    /// They are somebody's who may not come in: `forbidden`, close code 4403.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It could not be found out; the client may try again: `overloaded`.
    #[error("credentials cannot be checked at the moment")]
    Unavailable,
}

/// What [`Authenticator::authenticate`] gives.
pub type AuthFuture<'a> = Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>>;

/// Says who shows a credential.
///
/// It is asked once for each connection and each HTTP request that shows one, and once for each `auth`
/// command; an answer that takes longer than ten seconds is [`AuthError::Unavailable`].
///
/// # Examples
///
/// ```
/// use fanfare::auth::{AuthError, AuthFuture, Authenticator, Credential, Identity, Permissions, Right};
/// use fanfare::{Broker, Service};
///
/// struct Sessions;
///
/// impl Authenticator for Sessions {
///     fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
///         Box::pin(async move {
///             let Credential::Token(token) = credential else {
///                 return Err(AuthError::Invalid("a token is needed"));
///             };
///             let user = look_up(token).await.ok_or(AuthError::Invalid("no such session"))?;
///             let permissions = Permissions::none()
///                 .with(Right::Subscribe, "news.>")
///                 .map_err(|_| AuthError::Unavailable)?;
///             Ok(Identity::new(permissions).subject(user))
///         })
///     }
/// }
///
/// async fn look_up(token: &str) -> Option<String> {
///     (token == "t0k3n").then(|| "ana".to_owned())
/// }
///
/// let service = Service::builder(Broker::new()).authenticator(Sessions).build();
/// # let _ = service;
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// Who shows `credential`.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says why they are nobody.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await, with the connection that asked.
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a>;
}
