//! `[auth]`, `[anonymous]` and `[[keys]]`: who may come in and what they may do.

use std::fmt;

use crate::auth::{KeyHash, PermissionClaims};

/// `[auth]`.
#[derive(Clone, PartialEq)]
pub(crate) struct Auth {
    /// Secrets that sign tokens with HS256. Not in `Debug`.
    pub(crate) secrets: Vec<String>,
    /// Files with one such secret each.
    pub(crate) secret_files: Vec<String>,
    /// Files with a public key in PEM each.
    pub(crate) public_key_files: Vec<String>,
    /// A file with a JWKS document; none if empty.
    pub(crate) jwks_file: String,
    /// After what time it is read again.
    pub(crate) jwks_reread_ms: u64,
    /// Whose tokens count; anybody's who has a key if there is none.
    pub(crate) issuers: Vec<String>,
    /// What this server is called in tokens.
    pub(crate) audiences: Vec<String>,
    /// How far the clocks of issuers may be off.
    pub(crate) leeway_ms: u64,
    /// Whether tokens have to end.
    pub(crate) require_expiry: bool,
    /// How long a connection that has shown nothing may take to send an `auth` command.
    pub(crate) first_command_ms: u64,
    /// How long before its credentials end a client is told.
    pub(crate) expiring_ms: u64,
    /// Whether `/metrics` needs the admin right.
    pub(crate) protect_metrics: bool,
}

/// `[anonymous]`: patterns that those have a right to who show no credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Anonymous {
    pub(crate) subscribe: Vec<String>,
    pub(crate) publish: Vec<String>,
    pub(crate) presence: Vec<String>,
    pub(crate) history: Vec<String>,
}

/// One `[[keys]]`: a backend's key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendKey {
    /// Whose it is.
    pub(crate) name: String,
    /// What is stored of it.
    pub(crate) hash: KeyHash,
    /// What it allows.
    pub(crate) permissions: PermissionClaims,
}

impl Anonymous {
    /// As claims have it.
    pub(crate) fn claims(&self) -> PermissionClaims {
        let Anonymous { subscribe, publish, presence, history } = self.clone();
        PermissionClaims { subscribe, publish, presence, history, admin: false }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            secrets: Vec::new(),
            secret_files: Vec::new(),
            public_key_files: Vec::new(),
            jwks_file: String::new(),
            jwks_reread_ms: 60_000,
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_ms: 10_000,
            require_expiry: true,
            first_command_ms: 10_000,
            expiring_ms: 30_000,
            protect_metrics: false,
        }
    }
}

// By hand: what is printed for a log must not sign tokens.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("secrets", &self.secrets.len())
            .field("secret_files", &self.secret_files)
            .field("public_key_files", &self.public_key_files)
            .field("jwks_file", &self.jwks_file)
            .field("issuers", &self.issuers)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}
