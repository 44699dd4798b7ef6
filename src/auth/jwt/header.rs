//! A token's parts, and what its header says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::TOKEN_BYTES_MAX;
use crate::auth::AuthError;

/// A token whose header could be read. Nothing about it is proven.
pub(super) struct Parts<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
    /// What is signed: header and payload as they came.
    pub(super) signed: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood, of which there are none here.
    crit: Option<IgnoredAny>,
}

impl<'a> Parts<'a> {
    /// # Errors
    ///
    /// [`AuthError::Invalid`] for what is too long, not three parts, or signed in a way that is not known.
    pub(super) fn split(token: &'a str) -> Result<Self, AuthError> {
        const NO_TOKEN: AuthError = AuthError::Invalid("it is no token");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
        let (header, payload) = signed.split_once('.').ok_or(NO_TOKEN)?;
        if payload.contains('.') {
            return Err(NO_TOKEN);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| NO_TOKEN)?;
        let Header { alg, kid, crit } = serde_json::from_slice(&header).map_err(|_| NO_TOKEN)?;
        // RFC 7515, 4.1.11: if any of the listed extensions are not understood, the JWS is invalid.
        if crit.is_some() {
            return Err(AuthError::Invalid("the token needs extensions that are not known"));
        }
        let algorithm = match alg.as_str() {
            "HS256" => Algorithm::HS256,
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(AuthError::Invalid("the token is signed with an algorithm that is not accepted")),
        };
        Ok(Parts { algorithm, key: kid, signed, payload, signature })
    }
}

/// The bytes of a part.
pub(super) fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
