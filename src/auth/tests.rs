//! Grants against the naive matcher, and keys.

use proptest::prelude::*;

use super::fuzz::fuzz_permissions;
use super::{ApiKey, ApiKeys, AuthError, Credential, KeyHash, PermissionClaims, Permissions, Right};

/// With these grants to subscribe, `ana` may follow all of `allowed` and none of the `others`.
#[track_caller]
fn check(grants: &[&str], allowed: &[&str], others: &[&str]) {
    let grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
    let claims = PermissionClaims { subscribe: grants, ..PermissionClaims::default() };
    let permissions = claims.permissions(Some("ana"));
    for wanted in allowed {
        assert!(permissions.allow(Right::Subscribe, wanted), "{wanted}");
        assert!(!permissions.allow(Right::Publish, wanted), "{wanted}");
    }
    for wanted in others {
        assert!(!permissions.allow(Right::Subscribe, wanted), "{wanted}");
    }
}

#[test]
fn nothing_is_allowed_that_is_not_granted() {
    check(&[], &[], &["a", ">", "$stats", ""]);
    check(&["a"], &["a"], &["b", "a.b", "A", ">", "*"]);
}

#[test]
fn a_pattern_needs_a_grant_that_covers_all_of_it() {
    check(&["a.>"], &["a.b", "a.b.c", "a.*", "a.>", "a.*.c", "a.b.>"], &["a", "*.b", ">", "*.>", "*"]);
    check(&["a.*"], &["a.b", "a.*"], &["a.>", "a.*.*", "a.b.c"]);
    check(&["*.b"], &["a.b", "*.b"], &["a.*", "*.*", "*.>"]);
    check(&[">"], &["a", ">", "*", "*.b", "a.>"], &[]);
    // Two grants that together would do are not one that does.
    check(&["a.*", "a.*.>"], &["a.b", "a.b.c"], &["a.>"]);
}

#[test]
fn grants_that_share_a_beginning_do_not_hide_each_other() {
    check(&["a.b", "a.*.c", "*.b.c", "a"], &["a", "a.b", "a.b.c", "a.x.c", "x.b.c"], &["a.x", "b.b", "x.b"]);
}

#[test]
fn the_servers_topics_need_the_admin_right_whatever_is_granted() {
    check(&[">", "$stats", "$stats.>", "*"], &["a"], &["$stats", "$stats.a", "$stats.>"]);
    let admin = Permissions::none().with_admin(true);
    assert!(admin.allow(Right::Subscribe, "$stats") && admin.allow(Right::History, "$stats"));
    assert!(!admin.allow(Right::Publish, "$stats"));
    assert!(!admin.allow(Right::Subscribe, "a"), "to administer is not to read everything");
}

#[test]
fn the_subject_stands_for_one_segment() {
    check(&["user.{sub}.>"], &["user.ana.x", "user.ana.>"], &["user.bob.x", "user.{sub}.x", "user.*.x", "user.ana"]);
    check(&["room-{sub}"], &["room-ana"], &["room-bob"]);
    for subject in ["", "a.b", "*", ">", "a b", "a\u{a0}b", "a*", "$ana", "a\n", &"x".repeat(300)] {
        let claims = PermissionClaims { subscribe: vec!["{sub}".into(), "user.{sub}".into()], ..Default::default() };
        let permissions = claims.permissions(Some(subject));
        assert!(permissions.is_none(), "{subject:?}");
    }
    let claims = PermissionClaims { publish: vec!["{sub}".into(), "a".into()], ..Default::default() };
    let permissions = claims.permissions(None);
    assert!(permissions.allow(Right::Publish, "a") && !permissions.allow(Right::Publish, "{sub}"));
}

#[test]
fn a_grant_that_is_no_pattern_grants_nothing() {
    check(&["a..b", "a.>.b", "", "a*", "b"], &["b"], &["a", "a.b", "ab"]);
}

#[test]
fn more_rights_cover_fewer() {
    let few = Permissions::none().with(Right::Publish, "a.b").expect("a pattern");
    let more = Permissions::none().with(Right::Publish, "a.*").expect("a pattern");
    assert!(more.cover(&few) && !few.cover(&more));
    assert!(Permissions::all().cover(&more) && more.cover(&Permissions::none()));
    assert!(!more.cover(&few.with_admin(true)));
}

#[test]
fn keys_are_known_by_their_hash_and_shown_to_nobody() {
    let key = |name: &str, secret: &str| ApiKey {
        name: name.into(),
        hash: KeyHash::of(secret),
        permissions: Permissions::all().into(),
    };
    let keys = ApiKeys::new(vec![key("one", "k-one"), key("two", "k-two")]);
    for (shown, owner) in [("k-one", Some("one")), ("k-two", Some("two")), ("k-three", None), ("", None)] {
        let judged = keys.judge(shown).map(|identity| identity.subject.expect("keys have names").to_string());
        assert_eq!(judged.ok().as_deref(), owner);
    }
    assert!(matches!(keys.judge(&"x".repeat(100_000)), Err(AuthError::Invalid(_))));
    let text = format!("{keys:?} {:?} {:?}", Credential::Key("k-one"), Credential::Token("t0k3n"));
    assert!(!text.contains("k-one") && !text.contains("t0k3n") && !text.contains(&KeyHash::of("k-one").to_hex()[..8]));
}

#[test]
fn hashes_are_read_as_they_are_written() {
    // FIPS 180-4 by way of `printf abc | sha256sum`.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(KeyHash::of("abc").to_hex(), hash);
    assert_eq!(KeyHash::from_hex(&hash.to_uppercase()), Some(KeyHash::of("abc")));
    assert_ne!(KeyHash::from_hex(hash), Some(KeyHash::of("abd")));
    for wrong in ["", &hash[1..], &format!("{hash}0"), &hash.replace('b', "g"), &"é".repeat(32)] {
        assert_eq!(KeyHash::from_hex(wrong), None);
    }
}

proptest! {
    #[test]
    fn grants_agree_with_the_naive_matcher(
        subject in "[ab.*$ ]{0,3}",
        wanted in prop::collection::vec("[ab*$]|\\{sub\\}", 1..5),
        tail: bool,
        grants in prop::collection::vec(prop::collection::vec("[ab*>$]|\\{sub\\}", 1..5), 0..6),
    ) {
        let tail = if tail { ".>" } else { "" };
        let grants: Vec<String> = grants.iter().map(|segments| segments.join(".")).collect();
        fuzz_permissions(format!("{subject}\n{}{tail}\n{}", wanted.join("."), grants.join("\n")).as_bytes());
    }
}
