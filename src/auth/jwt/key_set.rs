//! Keys that tokens are checked with, each for one algorithm.

use std::fmt;
use std::io;
use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::header::Parts;

/// A document larger than this is none.
const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// How many keys there may be: a token that names none is tried with each of its algorithm.
const KEYS_MAX: usize = 32;

/// RFC 7518, 3.2: a key of the same size as the hash output or larger must be used.
const SECRET_BYTES_MIN: usize = 32;

/// RFC 7518, 3.3: a key of size 2048 bits or larger must be used. So long is the shortest PKCS#1 form.
const RSA_DER_BYTES_MIN: usize = 268;
const RSA_MODULUS_BYTES_MIN: usize = 256;

/// What the PEM of every private key says of itself.
const PRIVATE: &[u8] = b"PRIVATE KEY";

/// Why a key cannot be used. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A secret that could be guessed.
    #[error("the secret has {bytes} bytes, {SECRET_BYTES_MIN} are needed")]
    Short {
        /// How many it has.
        bytes: usize,
    },
    /// An RSA key that could be broken.
    #[error("an RSA key needs 2048 bits")]
    Weak,
    /// Not the PEM of a public key of a known kind.
    #[error("is no public key in PEM for RS256, ES256 or EdDSA")]
    Pem,
    /// The half of a key that must not leave its issuer.
    #[error("is a private key; the public one is needed")]
    Private,
    /// Not a JWKS document.
    #[error("is no JWKS document")]
    Document,
    /// A document without a key that can be used.
    #[error("holds no public key for RS256, ES256 or EdDSA")]
    NoKey,
    /// More keys than a token should be tried with.
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

struct Key {
    /// Its name in tokens, if it has one.
    id: Option<String>,
    /// The only one it is for.
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    pub(super) fn add_secret(&mut self, secret: &[u8]) -> Result<(), KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Short { bytes: secret.len() });
        }
        self.add(Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
    }

    pub(super) fn add_pem(&mut self, pem: &[u8]) -> Result<(), KeyError> {
        // A private key has no business on a server that only checks.
        if pem.windows(PRIVATE.len()).any(|text| text == PRIVATE) {
            return Err(KeyError::Private);
        }
        // Which it is stands inside: each reader refuses the others' keys.
        let (algorithm, key) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Pem)?;
            if bytes.len() < RSA_DER_BYTES_MIN {
                return Err(KeyError::Weak);
            }
            (Algorithm::RS256, key)
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            // Other curves have points of other lengths.
            let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Pem)?;
            if !matches!(bytes.len(), 33 | 65) {
                return Err(KeyError::Pem);
            }
            (Algorithm::ES256, key)
        } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            (Algorithm::EdDSA, key)
        } else {
            return Err(KeyError::Pem);
        };
        self.add(Key { id: None, algorithm, key })
    }

    /// The keys of a JWKS document that can be used. Others, such as those for encryption, are passed
    /// over, and secrets: a published document holds none.
    pub(super) fn from_document(text: &[u8]) -> Result<Self, KeyError> {
        let document: JwkSet = serde_json::from_slice(text).map_err(|_| KeyError::Document)?;
        let mut keys = KeySet::default();
        for jwk in &document.keys {
            if let Some(key) = Key::from_jwk(jwk) {
                keys.add(key)?;
            }
        }
        if keys.0.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
    }

    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        if std::fs::metadata(path)?.len() > DOCUMENT_BYTES_MAX {
            return Err(KeyError::Document);
        }
        KeySet::from_document(&std::fs::read(path)?)
    }

    fn add(&mut self, key: Key) -> Result<(), KeyError> {
        if self.0.len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        self.0.push(key);
        Ok(())
    }

    /// Whether one of the keys has signed the token: one of its algorithm, and of its name if both have
    /// one.
    pub(super) fn verify(&self, parts: &Parts<'_>) -> bool {
        let fits = |key: &&Key| {
            let named = match (&key.id, &parts.key) {
                (Some(id), Some(wanted)) => id == wanted,
                _ => true,
            };
            named && key.algorithm == parts.algorithm
        };
        self.0.iter().filter(fits).any(|key| {
            let signed = parts.signed.as_bytes();
            jsonwebtoken::crypto::verify(parts.signature, signed, &key.key, key.algorithm).unwrap_or(false)
        })
    }
}

impl Key {
    fn from_jwk(jwk: &Jwk) -> Option<Key> {
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = super::header::decode(&rsa.n)?;
                let strong = modulus.iter().skip_while(|byte| **byte == 0).count() >= RSA_MODULUS_BYTES_MIN;
                strong.then_some(Algorithm::RS256)?
            }
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Algorithm::ES256,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            _ => return None,
        };
        // RFC 7517, 4.4: the algorithm intended for use with the key.
        if jwk.common.key_algorithm.is_some_and(|named| named.to_string() != format!("{algorithm:?}")) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
    }
}

// By hand: no key in a log.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.algorithm)).finish()
    }
}
