//! Tokens that count, and tokens that do not.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of the server, and a key that it knows besides.
pub(crate) const SECRET: &str = "a secret of thirty-two bytes, ok";
pub(crate) const RSA_PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys/rsa.pub.pem");
const RSA: &[u8] = include_bytes!("../data/keys/rsa.pem");

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

pub(crate) fn sign(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a secret")
}

/// Ana's claims, for some seconds.
pub(crate) fn ana(seconds: u64) -> Value {
    let rights = json!({"subscribe": ["news.>", "room.{sub}"], "publish": ["room.*"], "history": ["room.*"],
                        "presence": ["room.*"]});
    json!({"sub": "ana", "exp": now() + seconds, "fanfare": rights})
}

/// Tokens that do not count: what is wrong with each, and the token.
pub(crate) fn bad_tokens() -> Vec<(&'static str, String)> {
    let good = sign(&ana(600));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let hmac = |secret: &[u8]| {
        encode(&Header::new(Algorithm::HS256), &ana(600), &EncodingKey::from_secret(secret)).expect("a secret")
    };
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = signed.split_once('.').expect("three parts");
    let forged = part(&json!({"sub": "ana", "exp": now() + 600, "fanfare": {"admin": true}}));
    // Dearer to refuse than any other: its signature has to be checked with a key of RSA.
    let by_rsa = encode(&Header::new(Algorithm::RS256), &ana(600), &EncodingKey::from_rsa_pem(RSA).expect("a key"));
    let by_rsa = by_rsa.expect("a key");
    let (rsa_header, rsa_signature) = (by_rsa.split_once('.'), by_rsa.rsplit_once('.'));
    let (rsa_header, rsa_signature) = (rsa_header.expect("three parts").0, rsa_signature.expect("three parts").1);
    let foreign = encode(&Header::new(Algorithm::RS512), &ana(600), &EncodingKey::from_rsa_pem(RSA).expect("a key"));
    let public = std::fs::read(RSA_PUBLIC).expect("a key of the tests");
    let later = json!({"sub": "ana", "exp": now() + 600, "nbf": now() + 300});
    vec![
        ("empty", String::new()),
        ("no token", "nonsense".into()),
        ("unsigned", format!("{}.{}.", part(&json!({"alg": "none"})), part(&ana(600)))),
        ("forged", format!("{header}.{forged}.{signature}")),
        ("forged, beside a signature by RSA", format!("{rsa_header}.{forged}.{rsa_signature}")),
        ("of another tenant", hmac(b"the secret of another, of 32 byt")),
        ("signed with the public key", hmac(&public)),
        ("of another algorithm", foreign.expect("a key")),
        ("truncated", good[..good.len() - 5].into()),
        ("without a signature", signed.into()),
        ("expired", sign(&json!({"sub": "ana", "exp": now() - 5}))),
        ("not valid yet", sign(&later)),
        ("for another audience", sign(&json!({"sub": "ana", "exp": now() + 600, "aud": "another"}))),
        ("without an end", sign(&json!({"sub": "ana"}))),
        ("long", "a".repeat(12_000)),
    ]
}
