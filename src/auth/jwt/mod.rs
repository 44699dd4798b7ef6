//! JSON Web Tokens (RFC 7519), signed (RFC 7515) with HS256, RS256, ES256 or EdDSA.
//!
//! Each key has one algorithm of its own and a token is only ever checked with keys of the algorithm
//! that its header names: a public RSA key can so never be taken for the secret of an HMAC, and `none`
//! is no algorithm. What the header says of keys (`jwk`, `jku`, `x5u`) is not looked at.
//!
//! The signature is the library's business; who may issue, for whom and until when is decided in
//! [`claims`], which gets the time as an argument.

mod claims;
mod header;
mod key_set;
mod roles;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

use self::claims::{Claims, Rules};
use self::header::Parts;
pub use self::key_set::KeyError;
use self::key_set::KeySet;
use self::roles::Roles;
use super::{AuthError, AuthFuture, Authenticator, Credential, Identity};

/// Longer tokens are refused before they are looked at. Claims with 200 patterns take half of it.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Judges tokens. Made by [`Jwt::builder`].
#[derive(Debug)]
pub struct Jwt {
    /// Keys that stay.
    keys: KeySet,
    rules: Rules,
    document: Option<Document>,
    roles: Roles,
}

/// A JWKS document that is read again now and then.
#[derive(Debug)]
struct Document {
    path: PathBuf,
    every: Duration,
    keys: Arc<ArcSwap<KeySet>>,
    begun: Instant,
    /// When it is to be read again, in milliseconds since `begun`.
    due_ms: AtomicU64,
}

/// Keys and rules of a [`Jwt`].
///
/// # Examples
///
/// ```
/// use fanfare::auth::Jwt;
/// use fanfare::{Broker, Service};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = Jwt::builder().secret(b"at least 32 bytes that nobody guesses")?.audience("live").build();
/// let service = Service::builder(Broker::new()).authenticator(tokens).build();
/// # let _ = service;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct JwtBuilder {
    keys: KeySet,
    rules: Rules,
    document: Option<Document>,
}

impl Jwt {
    /// Keys and rules first. Without a key no token counts.
    pub fn builder() -> JwtBuilder {
        // A host may have another provider linked in, and then the library does not choose by itself.
        // It fails if the host has chosen, which is as good.
        let _ = DEFAULT_PROVIDER.install_default();
        JwtBuilder::default()
    }

    /// Whose token it is at the time `now`, by the keys that are known.
    ///
    /// # Errors
    ///
    /// [`AuthError::Invalid`] if it is nobody's, [`AuthError::Expired`] if it has been somebody's.
    pub fn judge(&self, token: &str, now: SystemTime) -> Result<Identity, AuthError> {
        let parts = Parts::split(token)?;
        let document = self.document.as_ref().map(|document| document.keys.load());
        let sets = [Some(&self.keys), document.as_ref().map(|keys| &***keys)];
        let signed = sets.into_iter().flatten().any(|keys| keys.verify(&parts));
        if !signed {
            return Err(AuthError::Invalid("no key has signed the token"));
        }
        Claims::parse(parts.payload)?.identity(&self.rules, &self.roles, now)
    }
}

impl Authenticator for Jwt {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        Box::pin(async move {
            let Credential::Token(token) = credential else {
                return Err(AuthError::Invalid("a token is needed, not a key"));
            };
            if let Some(document) = &self.document {
                document.refresh().await;
            }
            self.judge(token, SystemTime::now())
        })
    }
}

impl JwtBuilder {
    /// A secret for HS256.
    ///
    /// # Errors
    ///
    /// [`KeyError::Short`] for less than 32 bytes: RFC 7518, 3.2 asks for as many as the hash has.
    pub fn secret(mut self, secret: &[u8]) -> Result<Self, KeyError> {
        self.keys.add_secret(secret)?;
        Ok(self)
    }

    /// A public key in PEM: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none of those.
    pub fn public_key(mut self, pem: &[u8]) -> Result<Self, KeyError> {
        self.keys.add_pem(pem)?;
        Ok(self)
    }

    /// The keys of a JWKS document (RFC 7517), which is read now and again after `every`.
    ///
    /// Should it be unreadable later, the keys that were read last stay.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it cannot be read now.
    pub fn jwks_file(mut self, path: impl Into<PathBuf>, every: Duration) -> Result<Self, KeyError> {
        let path = path.into();
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::read(&path)?));
        let due_ms = AtomicU64::new(millis(every));
        self.document = Some(Document { path, every, keys, begun: Instant::now(), due_ms });
        Ok(self)
    }

    /// An issuer whose tokens count. Without any, whoever has a key may issue.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuers.push(issuer.into());
        self
    }

    /// A name that this service goes by: tokens must be for one of them. Without any, tokens that name
    /// an audience do not count (RFC 7519, 4.1.3).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// How far the clocks of issuers may be off. The default is ten seconds.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Whether tokens have to end. The default is yes: there is no way to take back one that does not.
    pub fn require_expiry(mut self, required: bool) -> Self {
        self.rules.require_expiry = required;
        self
    }

    /// The authenticator.
    #[must_use]
    pub fn build(self) -> Jwt {
        let JwtBuilder { keys, rules, document } = self;
        Jwt { keys, rules, document, roles: Roles::default() }
    }
}

impl Document {
    /// Reads the document again if that is due and nobody else does it.
    async fn refresh(&self) {
        let now_ms = millis(self.begun.elapsed());
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        let next_ms = now_ms.saturating_add(millis(self.every));
        // Relaxed: it only chooses who reads.
        let chosen = now_ms >= due_ms
            && self.due_ms.compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !chosen {
            return;
        }
        let (path, keys) = (self.path.clone(), Arc::clone(&self.keys));
        // A file may lie on a disk that is slow: not on the thread that serves connections.
        let read = tokio::task::spawn_blocking(move || match KeySet::read(&path) {
            Ok(read) => keys.store(Arc::new(read)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the key document cannot be read; its keys stay");
            }
        });
        // It fails only when the runtime ends.
        let _ = read.await;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The body of the fuzz target `token`: text as a token, which nobody can make without the key, and as the
/// claims of one that was signed.
#[cfg(any(test, fuzzing))]
pub fn fuzz_token(bytes: &[u8]) {
    use base64::Engine;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let jwt = Jwt::builder().secret(b"nobody has this one, of 32 bytes").expect("it is long enough").build();
    assert!(matches!(jwt.judge(text, SystemTime::UNIX_EPOCH), Err(AuthError::Invalid(_))));
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let Ok(claims) = Claims::parse(&payload) else { return };
    let rules = Rules::default();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    if let Ok(identity) = claims.identity(&rules, &Roles::default(), now) {
        assert!(identity.expires.is_none_or(|expires| expires > now), "it has ended");
        assert!(identity.subject.is_none_or(|subject| subject.len() <= 255));
    }
}
