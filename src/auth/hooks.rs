//! What an embedder may have a say in: who comes, what is followed, what is published.

use crate::protocol::Data;

/// Who does something.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Client<'a> {
    /// Its connection as its `welcome` names it; `None` over HTTP.
    pub connection: Option<&'a str>,
    /// The name that its credentials prove.
    pub subject: Option<&'a str>,
}

/// Why a hook refuses; the words go to the client, with the code `forbidden`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Asked at the turning points of a connection.
///
/// Every method has a default that allows and does nothing. Permissions are checked before: a hook can
/// take away, and never give. They run on the threads that serve connections, in the middle of a command:
/// what takes time belongs into an [`Authenticator`](super::Authenticator) or a task of its own.
///
/// # Examples
///
/// ```
/// use fanfare::auth::{Client, Hooks, Refusal};
/// use fanfare::{Broker, Data, Service};
///
/// struct House;
///
/// impl Hooks for House {
///     fn publish(&self, client: &Client<'_>, topic: &str, data: Data) -> Result<Data, Refusal> {
///         if topic.starts_with("audit.") && client.subject.is_none() {
///             return Err(Refusal("who are you?".into()));
///         }
///         Ok(data)
///     }
/// }
///
/// let service = Service::builder(Broker::new()).hooks(House).build();
/// # let _ = service;
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// Somebody is let in: before the `welcome`, or with the first `auth` command where credentials are
    /// needed and come with that. Once for each connection.
    ///
    /// # Errors
    ///
    /// [`Refusal`] closes the connection with 4403.
    fn connect(&self, client: &Client<'_>) -> Result<(), Refusal> {
        let _ = client;
        Ok(())
    }

    /// Somebody who may is about to follow a topic or a pattern.
    ///
    /// # Errors
    ///
    /// [`Refusal`] is the answer.
    fn subscribe(&self, client: &Client<'_>, filter: &str) -> Result<(), Refusal> {
        let _ = (client, filter);
        Ok(())
    }

    /// Somebody who may is about to publish. What is given back is published.
    ///
    /// # Errors
    ///
    /// [`Refusal`] is the answer.
    fn publish(&self, client: &Client<'_>, topic: &str, data: Data) -> Result<Data, Refusal> {
        let _ = (client, topic);
        Ok(data)
    }

    /// A connection that was let in has ended, however that came.
    fn disconnect(&self, client: &Client<'_>) {
        let _ = client;
    }
}
