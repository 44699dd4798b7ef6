//! What the configuration says of credentials, as an authenticator.

use std::io;
use std::time::Duration;

use crate::auth::{ApiKey, ApiKeys, AuthFuture, Authenticator, Credential, Jwt, JwtBuilder, KeyError};
use crate::config::Config;

/// Judges tokens and backends' keys, as configured.
#[derive(Debug)]
pub(crate) struct Configured {
    tokens: Jwt,
    keys: ApiKeys,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {path:?} {error}")]
pub(crate) struct UnusableKey {
    setting: &'static str,
    path: String,
    error: KeyError,
}

/// What judges credentials; `None` where nobody is asked who they are.
///
/// # Errors
///
/// [`UnusableKey`] names the file that holds no key.
pub(crate) fn authenticator(config: &Config) -> Result<Option<Configured>, UnusableKey> {
    if !config.asks() {
        return Ok(None);
    }
    let auth = &config.auth;
    let mut tokens = Jwt::builder().leeway(Duration::from_millis(auth.leeway_ms)).require_expiry(auth.require_expiry);
    let unusable = |setting, path: &str| {
        let path = path.to_owned();
        move |error| UnusableKey { setting, path, error }
    };
    for secret in secrets(config)? {
        tokens = tokens.secret(&secret).map_err(unusable("auth.secrets", ""))?;
    }
    for path in &auth.public_key_files {
        let unusable = || unusable("auth.public_key_files", path);
        let pem = std::fs::read(path).map_err(KeyError::from).map_err(unusable())?;
        tokens = tokens.public_key(&pem).map_err(unusable())?;
    }
    if !auth.jwks_file.is_empty() {
        let every = Duration::from_millis(auth.jwks_reread_ms);
        tokens = tokens.jwks_file(&auth.jwks_file, every).map_err(unusable("auth.jwks_file", &auth.jwks_file))?;
    }
    tokens = auth.issuers.iter().fold(tokens, JwtBuilder::issuer);
    tokens = auth.audiences.iter().fold(tokens, JwtBuilder::audience);
    let keys = config.keys.iter().map(|key| ApiKey {
        name: key.name.as_str().into(),
        hash: key.hash,
        permissions: key.permissions.permissions(Some(&key.name)).into(),
    });
    Ok(Some(Configured { tokens: tokens.build(), keys: ApiKeys::new(keys.collect()) }))
}

/// All secrets for HS256, the first of which signs tokens for trying things out.
///
/// # Errors
///
/// [`UnusableKey`] names the file that cannot be read, or whose secret is too short.
pub(crate) fn secrets(config: &Config) -> Result<Vec<Vec<u8>>, UnusableKey> {
    const SECRET_BYTES_MIN: usize = 32;
    let mut secrets: Vec<Vec<u8>> = config.auth.secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
    for path in &config.auth.secret_files {
        let unusable = |error| UnusableKey { setting: "auth.secret_files", path: path.clone(), error };
        let secret = std::fs::read(path).map_err(|error: io::Error| unusable(error.into()))?;
        // Whoever writes a file with an editor or `echo` ends its line.
        let secret = secret.trim_ascii_end();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(unusable(KeyError::Short { bytes: secret.len() }));
        }
        secrets.push(secret.to_vec());
    }
    Ok(secrets)
}

impl Authenticator for Configured {
    fn authenticate<'a>(&'a self, credential: Credential<'a>) -> AuthFuture<'a> {
        match credential {
            Credential::Key(_) => self.keys.authenticate(credential),
            Credential::Token(_) => self.tokens.authenticate(credential),
        }
    }
}
