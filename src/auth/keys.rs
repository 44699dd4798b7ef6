//! API keys of backends, held as hashes.
//!
//! A key has 256 random bits, so one round of SHA-256 is as good as a slow hash would be: there is
//! nothing to guess. What is stored tells nobody a key.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{AuthError, AuthFuture, Authenticator, Credential, Identity, Permissions};

/// What is looked at of a key; longer ones are none.
const KEY_BYTES_MAX: usize = 512;

/// The SHA-256 of an API key.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        KeyHash(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits; `None` if it is anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(KeyHash(hash))
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for KeyHash {
    /// In a time that does not depend on where the two differ.
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// One key: whose it is, its hash, and what it allows.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Whose it is; the subject of whoever shows it.
    pub name: Arc<str>,
    /// What is stored of it.
    pub hash: KeyHash,
    /// What it allows.
    pub permissions: Arc<Permissions>,
}

/// The keys of backends.
///
/// # Examples
///
/// ```
/// use fanfare::auth::{ApiKey, ApiKeys, KeyHash, Permissions};
/// use fanfare::{Broker, Service};
///
/// let hash = KeyHash::of("what the backend shows as X-API-Key");
/// let billing = ApiKey { name: "billing".into(), hash, permissions: Permissions::all().into() };
/// let service = Service::builder(Broker::new()).authenticator(ApiKeys::new(vec![billing])).build();
/// # let _ = service;
/// ```
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    /// These keys and no others.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        ApiKeys(keys)
    }

    /// Whose key it is. Every key is compared, whichever it is.
    ///
    /// # Errors
    ///
    /// [`AuthError::Invalid`] if it is nobody's.
    pub fn judge(&self, key: &str) -> Result<Identity, AuthError> {
        const UNKNOWN: AuthError = AuthError::Invalid("the key is not known");
        if key.len() > KEY_BYTES_MAX {
            return Err(UNKNOWN);
        }
        let shown = KeyHash::of(key);
        let mut owner = None;
        for key in &self.0 {
            if key.hash == shown {
                owner = Some(key);
            }
        }
        let owner = owner.ok_or(UNKNOWN)?;
        Ok(Identity::new(Arc::clone(&owner.permissions)).subject(Arc::clone(&owner.name)))
    }
}

impl Authenticator for ApiKeys {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        let judged = match credential {
            Credential::Key(key) => self.judge(key),
            Credential::Token(_) => Err(AuthError::Invalid("a key is needed, not a token")),
        };
        Box::pin(std::future::ready(judged))
    }
}
