//! Tokens that count and tokens that do not, at times that the tests choose.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::auth::Right;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const RSA: &[u8] = include_bytes!("../../../tests/data/keys/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../../tests/data/keys/rsa.pub.pem");
const EC: &[u8] = include_bytes!("../../../tests/data/keys/ec.pem");
const EC_PUBLIC: &[u8] = include_bytes!("../../../tests/data/keys/ec.pub.pem");
const ED: &[u8] = include_bytes!("../../../tests/data/keys/ed.pem");
const ED_PUBLIC: &[u8] = include_bytes!("../../../tests/data/keys/ed.pub.pem");

/// Seconds since 1970 that the tests call now.
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hmac() -> Jwt {
    Jwt::builder().secret(SECRET).expect("long enough").leeway(Duration::ZERO).build()
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("the key is of the algorithm")
}

fn token(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

fn ana() -> Value {
    json!({"sub": "ana", "exp": NOW + 60, "fanfare": {"subscribe": ["user.{sub}"]}})
}

#[track_caller]
fn check(jwt: &Jwt, token: &str, expected: Result<&str, AuthError>) {
    let judged = jwt.judge(token, at(NOW)).map(|identity| identity.subject.map(|name| name.to_string()));
    assert_eq!(judged, expected.map(|name| Some(name.to_owned())));
}

#[track_caller]
fn check_refused(jwt: &Jwt, token: &str) {
    let judged = jwt.judge(token, at(NOW));
    assert!(matches!(judged, Err(AuthError::Invalid(_))), "{token}: {judged:?}");
}

#[test]
fn a_token_says_who_it_is_what_they_may_do_and_until_when() {
    let identity = hmac().judge(&token(&ana()), at(NOW)).expect("it is right");
    assert_eq!(identity.subject.as_deref(), Some("ana"));
    assert_eq!(identity.expires, Some(at(NOW + 60)));
    assert!(identity.permissions.allow(Right::Subscribe, "user.ana"));
    assert!(!identity.permissions.allow(Right::Publish, "user.ana"));
}

#[test]
fn each_algorithm_has_its_keys() {
    let all = || {
        let builder = Jwt::builder().secret(SECRET).and_then(|builder| builder.public_key(RSA_PUBLIC));
        let builder = builder.and_then(|builder| builder.public_key(EC_PUBLIC));
        builder.and_then(|builder| builder.public_key(ED_PUBLIC)).expect("keys of the tests").build()
    };
    let rsa = EncodingKey::from_rsa_pem(RSA).expect("a key");
    let ec = EncodingKey::from_ec_pem(EC).expect("a key");
    let ed = EncodingKey::from_ed_pem(ED).expect("a key");
    check(&all(), &token(&ana()), Ok("ana"));
    check(&all(), &signed(Algorithm::RS256, &rsa, &ana()), Ok("ana"));
    check(&all(), &signed(Algorithm::ES256, &ec, &ana()), Ok("ana"));
    check(&all(), &signed(Algorithm::EdDSA, &ed, &ana()), Ok("ana"));
    // Other algorithms of the same keys are not accepted.
    check_refused(&all(), &signed(Algorithm::RS512, &rsa, &ana()));
    check_refused(&all(), &signed(Algorithm::PS256, &rsa, &ana()));
    check_refused(&all(), &signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &ana()));
}

#[test]
fn a_public_key_is_no_secret() {
    // Key confusion: the public key, which everybody has, used as the secret of an HMAC.
    let jwt = Jwt::builder().public_key(RSA_PUBLIC).expect("a key").build();
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_ascii_end()] {
        check_refused(&jwt, &signed(Algorithm::HS256, &EncodingKey::from_secret(secret), &ana()));
    }
    let both = Jwt::builder().secret(SECRET).and_then(|builder| builder.public_key(RSA_PUBLIC)).expect("keys").build();
    check_refused(&both, &signed(Algorithm::HS256, &EncodingKey::from_secret(RSA_PUBLIC), &ana()));
}

#[test]
fn a_token_counts_with_keys_of_the_algorithm_that_it_names_only() {
    for alg in ["RS256", "ES256", "EdDSA"] {
        let message = [json!({"alg": alg}), ana()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let key = EncodingKey::from_secret(SECRET);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a secret");
        check_refused(&hmac(), &format!("{message}.{signature}"));
    }
}

#[test]
fn unsigned_and_forged_tokens_are_refused() {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(&ana());
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256"] {
        let header = part(&json!({"alg": alg, "typ": "JWT"}));
        check_refused(&hmac(), &format!("{header}.{claims}."));
        check_refused(&hmac(), &format!("{header}.{claims}"));
    }
    let good = token(&ana());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = signed.split_once('.').expect("three parts");
    let admin = part(&json!({"sub": "ana", "exp": NOW + 60, "fanfare": {"admin": true}}));
    check_refused(&hmac(), &format!("{header}.{admin}.{signature}"));
    check_refused(&hmac(), &format!("{good}."));
    check_refused(&hmac(), &format!("{good}.x"));
    check_refused(&hmac(), &format!("x.{good}"));
    // Base64 with padding, or spaces, would be a second text for the same token.
    check_refused(&hmac(), &format!("{good}="));
    check_refused(&hmac(), &format!(" {good}"));
    let other = signed_by(b"another secret of thirty-two byt", &ana());
    check_refused(&hmac(), &other);
    for length in 0..good.len() {
        check_refused(&hmac(), &good[..length]);
    }
}

fn signed_by(secret: &[u8], claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(secret), claims)
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let foreign = b"a foreign secret of 32 bytes, ok";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(foreign), "alg": "HS256"});
    let header = json!({"alg": "HS256", "jwk": jwk, "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"});
    let message = [header, ana()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = EncodingKey::from_secret(foreign);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a secret");
    check_refused(&hmac(), &format!("{message}.{signature}"));
}

#[test]
fn extensions_that_must_be_understood_are_not() {
    let header = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let message = [header, ana()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a secret");
    check_refused(&hmac(), &format!("{message}.{signature}"));
}

#[test]
fn huge_tokens_are_refused_unread() {
    let huge = "a".repeat(TOKEN_BYTES_MAX + 1);
    check(&hmac(), &huge, Err(AuthError::Invalid("the token is too long")));
    let claims = json!({"sub": "ana", "exp": NOW + 60, "pad": "x".repeat(TOKEN_BYTES_MAX)});
    check(&hmac(), &token(&claims), Err(AuthError::Invalid("the token is too long")));
    // Claims with 200 patterns are not.
    let patterns: Vec<String> = (0..200).map(|number| format!("tenant.{number}.rooms.>")).collect();
    check(&hmac(), &token(&json!({"sub": "ana", "exp": NOW + 1, "fanfare": {"subscribe": patterns}})), Ok("ana"));
}

#[test]
fn tokens_count_from_nbf_until_exp() {
    let jwt = |leeway| Jwt::builder().secret(SECRET).expect("a secret").leeway(Duration::from_secs(leeway)).build();
    let check_at = |leeway, exp: f64, nbf: f64, expected| {
        let token = token(&json!({"sub": "ana", "exp": exp, "nbf": nbf}));
        check(&jwt(leeway), &token, expected);
    };
    let now = NOW as f64;
    check_at(0, now + 1.0, now, Ok("ana"));
    check_at(0, now + 0.5, now - 0.5, Ok("ana"));
    check_at(0, now, now, Err(AuthError::Expired));
    check_at(0, now + 9.0, now + 1.0, Err(AuthError::Invalid("the token is not valid yet")));
    check_at(5, now - 4.0, now + 4.0, Ok("ana"));
    check_at(5, now - 5.0, now, Err(AuthError::Expired));
    check_at(5, now + 9.0, now + 6.0, Err(AuthError::Invalid("the token is not valid yet")));
    check_at(0, 1e300, -5.0, Ok("ana"));
    check_at(0, -1e300, 0.0, Err(AuthError::Expired));
}

#[test]
fn a_token_without_an_end_counts_only_where_that_is_allowed() {
    let endless = token(&json!({"sub": "ana"}));
    check_refused(&hmac(), &endless);
    let lenient = Jwt::builder().secret(SECRET).expect("a secret").require_expiry(false).build();
    assert_eq!(lenient.judge(&endless, at(NOW)).expect("it is right").expires, None);
}

#[test]
fn issuer_and_audience_are_those_that_are_wanted() {
    let ours = || {
        let builder = Jwt::builder().secret(SECRET).expect("a secret");
        builder.issuer("https://id.example").issuer("https://other.example").audience("live").build()
    };
    let with =
        |issuer: Value, audience: Value| token(&json!({"sub": "ana", "exp": NOW + 60, "iss": issuer, "aud": audience}));
    check(&ours(), &with("https://id.example".into(), "live".into()), Ok("ana"));
    check(&ours(), &with("https://other.example".into(), json!(["x", "live"])), Ok("ana"));
    for (issuer, audience) in [
        (json!("https://evil.example"), json!("live")),
        (json!(null), json!("live")),
        (json!("https://id.example"), json!("other")),
        (json!("https://id.example"), json!([])),
        (json!("https://id.example"), json!(null)),
        (json!("https://id.example"), json!(7)),
    ] {
        check_refused(&ours(), &with(issuer, audience));
    }
    // A token for somebody else is not for whoever has no name.
    check_refused(&hmac(), &with(json!(null), json!("live")));
}

#[test]
fn claims_of_another_form_are_refused() {
    for claims in [
        json!([]),
        json!({"sub": 7, "exp": NOW + 60}),
        json!({"sub": "ana", "exp": "tomorrow"}),
        json!({"sub": "ana", "exp": NOW + 60, "fanfare": {"subscribe": "a"}}),
        json!({"sub": "ana", "exp": NOW + 60, "fanfare": {"admin": "yes"}}),
        json!({"sub": "x".repeat(300), "exp": NOW + 60}),
        json!({"sub": "ana\u{0}", "exp": NOW + 60}),
    ] {
        check_refused(&hmac(), &token(&claims));
    }
    let twice = r#"{"sub":"ana","exp":9999999999,"sub":"bob"}"#;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(twice));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a secret");
    check_refused(&hmac(), &format!("{message}.{signature}"));
}

#[test]
fn keys_that_cannot_be_trusted_are_refused() {
    let pem = |pem: &[u8]| Jwt::builder().public_key(pem).expect_err("it is refused");
    assert!(matches!(Jwt::builder().secret(&SECRET[1..]), Err(KeyError::Short { bytes: 31 })));
    assert!(matches!(pem(include_bytes!("../../../tests/data/keys/weak.pub.pem")), KeyError::Weak));
    assert!(matches!(pem(include_bytes!("../../../tests/data/keys/p384.pub.pem")), KeyError::Pem));
    assert!(matches!(pem(RSA), KeyError::Private));
    assert!(matches!(pem(b"nonsense"), KeyError::Pem));
}

fn jwk(pem: &[u8], algorithm: Algorithm, id: &str) -> Value {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(pem),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
        _ => EncodingKey::from_ed_pem(pem),
    };
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key.expect("a key"), algorithm).expect("a public half");
    let mut jwk = serde_json::to_value(jwk).expect("a map");
    jwk["kid"] = id.into();
    jwk
}

fn named(id: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    encode(&Header { kid: Some(id.into()), ..Header::new(algorithm) }, &ana(), key).expect("a key")
}

#[test]
fn a_document_of_keys_is_read_and_what_it_cannot_vouch_for_passed_over() {
    let document = json!({"keys": [
        jwk(RSA, Algorithm::RS256, "r"),
        jwk(EC, Algorithm::ES256, "c"),
        jwk(ED, Algorithm::EdDSA, "d"),
        {"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET)},
        {"kty": "something new", "kid": "n"},
    ]});
    let keys = KeySet::from_document(document.to_string().as_bytes()).expect("three can be used");
    assert_eq!(format!("{keys:?}"), "[RS256, ES256, EdDSA]");
    let jwt = Jwt { keys, rules: Rules::default(), document: None, roles: Roles::default() };
    let rsa = EncodingKey::from_rsa_pem(RSA).expect("a key");
    check(&jwt, &named("r", Algorithm::RS256, &rsa), Ok("ana"));
    check(&jwt, &named("c", Algorithm::ES256, &EncodingKey::from_ec_pem(EC).expect("a key")), Ok("ana"));
    check(&jwt, &named("d", Algorithm::EdDSA, &EncodingKey::from_ed_pem(ED).expect("a key")), Ok("ana"));
    check(&jwt, &signed(Algorithm::RS256, &rsa, &ana()), Ok("ana"));
    check_refused(&jwt, &named("other", Algorithm::RS256, &rsa));
    check_refused(&jwt, &named("s", Algorithm::HS256, &EncodingKey::from_secret(SECRET)));
    for text in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        assert!(KeySet::from_document(text.as_bytes()).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_document_is_read_again_and_kept_when_it_cannot_be() {
    let path = std::env::temp_dir().join(format!("fanfare-jwks-{}.json", std::process::id()));
    let write = |keys: &[Value]| std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("a file");
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() + 600;
    let claims = json!({"sub": "ana", "exp": exp});
    let rsa = signed(Algorithm::RS256, &EncodingKey::from_rsa_pem(RSA).expect("a key"), &claims);
    let ed = signed(Algorithm::EdDSA, &EncodingKey::from_ed_pem(ED).expect("a key"), &claims);

    write(&[jwk(RSA, Algorithm::RS256, "r")]);
    let jwt = Jwt::builder().jwks_file(&path, Duration::ZERO).expect("a document").build();
    let counts = async |token: &str| jwt.authenticate(Credential::Token(token)).await.is_ok();
    assert!(counts(&rsa).await && !counts(&ed).await);
    write(&[jwk(ED, Algorithm::EdDSA, "d")]);
    assert!(!counts(&rsa).await && counts(&ed).await);
    std::fs::write(&path, "half a doc").expect("a file");
    assert!(counts(&ed).await);
    std::fs::remove_file(&path).expect("it is there");
    assert!(counts(&ed).await);
}

#[test]
fn nothing_that_is_displayed_holds_a_secret() {
    let builder = Jwt::builder().secret(SECRET).expect("a secret");
    let before = format!("{builder:?}");
    let text = format!("{before} {:?}", builder.build());
    assert!(!text.contains("secret of") && !text.contains("115, 101, 99"), "{text}");
    let error = Jwt::builder().secret(b"short secret").expect_err("it is short");
    assert!(!format!("{error} {error:?}").contains("short secret"));
}
