//! What somebody may do: patterns per right, from claims or from an embedder.

use std::fmt;

use serde::Deserialize;

use super::grants::{Grants, grant};
use crate::protocol::topic::Pattern;
use crate::protocol::{Filter, TopicError};

/// Something that can be done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Right {
    /// Follow it.
    Subscribe,
    /// Send messages to it.
    Publish,
    /// See who is in it.
    Presence,
    /// Ask for earlier messages.
    History,
}

impl Right {
    /// Every right there is.
    pub const ALL: [Right; 4] = [Right::Subscribe, Right::Publish, Right::Presence, Right::History];

    /// Its name in claims and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Right::Subscribe => "subscribe",
            Right::Publish => "publish",
            Right::Presence => "presence",
            Right::History => "history",
        }
    }
}

impl Right {
    /// What one does with it, in a sentence.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Right::Subscribe => "subscribe there",
            Right::Publish => "publish there",
            Right::Presence => "see who is there",
            Right::History => "see earlier messages there",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody may do: for each [`Right`] the topics it is for, and whether they administer.
///
/// Nothing is allowed that is not granted. Topics that begin with `$` belong to the server: to read
/// them takes the admin right, whatever the grants say, and nobody publishes there.
///
/// # Examples
///
/// ```
/// use fanfare::auth::{Permissions, Right};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let permissions = Permissions::none().with(Right::Subscribe, "prices.>")?.with(Right::Publish, "room.7")?;
/// assert!(permissions.allow(Right::Subscribe, "prices.btc"));
/// // A pattern needs a grant that covers all of it.
/// assert!(permissions.allow(Right::Subscribe, "prices.*"));
/// assert!(!permissions.allow(Right::Subscribe, ">"));
/// assert!(!permissions.allow(Right::Publish, "room.8"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    subscribe: Grants,
    publish: Grants,
    presence: Grants,
    history: Grants,
    admin: bool,
}

impl Permissions {
    /// Nothing at all.
    #[must_use]
    pub fn none() -> Self {
        Permissions::default()
    }

    /// Every right for every topic, but not to administer.
    #[must_use]
    pub fn all() -> Self {
        let mut permissions = Permissions::none();
        for right in Right::ALL {
            let everything = Pattern::parse(">").expect("it is a pattern");
            permissions.grants_mut(right).add(everything);
        }
        permissions
    }

    /// Grants one more pattern, or one topic.
    ///
    /// # Errors
    ///
    /// [`TopicError`] if `pattern` is neither.
    pub fn with(mut self, right: Right, pattern: &str) -> Result<Self, TopicError> {
        self.grants_mut(right).add(Pattern::parse(pattern)?);
        Ok(self)
    }

    /// Grants or takes the right to administer: the server's own topics, `/v1/topics`,
    /// `/v1/connections`.
    #[must_use]
    pub fn with_admin(mut self, admin: bool) -> Self {
        self.admin = admin;
        self
    }

    /// Whether the right is there for all that `wanted` names: a topic, or every topic that matches a
    /// pattern. Text that is neither is not allowed.
    #[must_use]
    pub fn allow(&self, right: Right, wanted: &str) -> bool {
        Filter::parse(wanted).is_ok_and(|filter| self.allow_filter(right, filter.as_str()))
    }

    /// Whether they may use what is for administrators.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// As [`allow`](Self::allow), for what is known to be a name or a pattern.
    pub(crate) fn allow_filter(&self, right: Right, wanted: &str) -> bool {
        if wanted.starts_with('$') {
            return self.admin && right != Right::Publish;
        }
        self.grants(right).cover(wanted)
    }

    /// Whether everything that `others` allow is allowed here as well.
    pub(crate) fn cover(&self, others: &Permissions) -> bool {
        let admin = self.admin || !others.admin;
        admin && Right::ALL.into_iter().all(|right| self.grants(right).cover_all(others.grants(right)))
    }

    pub(crate) fn is_none(&self) -> bool {
        !self.admin && Right::ALL.into_iter().all(|right| self.grants(right).is_empty())
    }

    fn grants(&self, right: Right) -> &Grants {
        match right {
            Right::Subscribe => &self.subscribe,
            Right::Publish => &self.publish,
            Right::Presence => &self.presence,
            Right::History => &self.history,
        }
    }

    fn grants_mut(&mut self, right: Right) -> &mut Grants {
        match right {
            Right::Subscribe => &mut self.subscribe,
            Right::Publish => &mut self.publish,
            Right::Presence => &mut self.presence,
            Right::History => &mut self.history,
        }
    }
}

/// Permissions as claims and settings write them.
///
/// `{sub}` in a pattern stands for the subject, if that is one legal segment; a grant that comes to no
/// pattern grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct PermissionClaims {
    /// Patterns that may be followed.
    pub subscribe: Vec<String>,
    /// Patterns that may be published to.
    pub publish: Vec<String>,
    /// Patterns whose members may be seen.
    pub presence: Vec<String>,
    /// Patterns whose earlier messages may be asked for.
    pub history: Vec<String>,
    /// Whether they administer.
    pub admin: bool,
}

impl PermissionClaims {
    /// What they come to for `subject`.
    #[must_use]
    pub fn permissions(&self, subject: Option<&str>) -> Permissions {
        let mut permissions = Permissions::none().with_admin(self.admin);
        let lists = [&self.subscribe, &self.publish, &self.presence, &self.history];
        for (right, list) in Right::ALL.into_iter().zip(lists) {
            for pattern in list.iter().filter_map(|text| grant(text, subject)) {
                permissions.grants_mut(right).add(pattern);
            }
            permissions.grants_mut(right).shrink();
        }
        permissions
    }

    /// Whether they come to something else for every subject.
    #[cfg(feature = "jwt")]
    pub(super) fn name_subject(&self) -> bool {
        let lists = [&self.subscribe, &self.publish, &self.presence, &self.history];
        lists.into_iter().flatten().any(|text| text.contains(super::grants::SUBJECT))
    }
}
