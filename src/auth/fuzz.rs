//! The bodies of the fuzz targets, and the naive matcher that judges grants.

#[cfg(feature = "jwt")]
pub use super::jwt::fuzz_token;
use super::{PermissionClaims, Right};
use crate::protocol::topic::{Filter, Pattern};

/// The first line is a subject, the second what is wanted, the others are grants.
///
/// A check that says yes where the naive matcher says no lets somebody in; the other way round it
/// keeps somebody out. Neither may happen for names; for patterns the naive side tries every name of
/// up to four segments from a small alphabet, and may only say no.
pub fn fuzz_permissions(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let (Some(subject), Some(wanted)) = (lines.next(), lines.next()) else { return };
    const GRANTS_MAX: usize = 64;
    let grants: Vec<String> = lines.take(GRANTS_MAX).map(str::to_owned).collect();
    let naive: Vec<Pattern> = grants.iter().filter_map(|grant| naive_grant(grant, subject)).collect();
    let claims = PermissionClaims { subscribe: grants, ..PermissionClaims::default() };
    let permissions = claims.permissions(Some(subject));
    let allowed = permissions.allow(Right::Subscribe, wanted);
    match Filter::parse(wanted) {
        Err(_) => assert!(!allowed, "{wanted:?} is no name"),
        Ok(Filter::Topic(name)) => {
            let expected = !name.is_reserved() && naive.iter().any(|grant| grant.matches(&name));
            assert_eq!(allowed, expected, "{name} with {naive:?}");
        }
        Ok(Filter::Pattern(pattern)) if allowed => {
            assert!(!pattern.is_reserved());
            for name in names(&pattern, &naive).filter(|name| pattern.matches(name)) {
                assert!(naive.iter().any(|grant| grant.matches(&name)), "{pattern} reaches {name} with {naive:?}");
            }
        }
        Ok(Filter::Pattern(_)) => {}
    }
    for right in [Right::Publish, Right::Presence, Right::History] {
        assert!(!permissions.allow(right, wanted));
    }
}

/// The grant's pattern, by the words of the contract: a subject with a dot, a wildcard, white space or a
/// leading `$` makes it grant nothing.
fn naive_grant(grant: &str, subject: &str) -> Option<Pattern> {
    if grant.contains("{sub}") {
        let illegal = |c: char| c == '.' || c == '*' || c == '>' || c.is_whitespace() || c.is_control();
        if subject.is_empty() || subject.len() > 255 || subject.starts_with('$') || subject.contains(illegal) {
            return None;
        }
    }
    Pattern::parse(&grant.split("{sub}").collect::<Vec<_>>().join(subject)).ok()
}

/// Names that could tell `pattern` from the grants: of up to four segments, from those that occur and one
/// that does not.
fn names(pattern: &Pattern, grants: &[Pattern]) -> impl Iterator<Item = String> {
    const WORDS_MAX: usize = 6;
    let mut words = vec!["~"];
    let occurring = grants.iter().map(Pattern::as_str).chain([pattern.as_str()]).flat_map(|text| text.split('.'));
    for word in occurring.filter(|word| !matches!(*word, "*" | ">") && word.len() < 32) {
        if words.len() < WORDS_MAX && !words.contains(&word) {
            words.push(word);
        }
    }
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let mut names = words.clone();
    let mut last = words.clone();
    for _ in 1..4 {
        last = last.iter().flat_map(|name| words.iter().map(move |word| format!("{name}.{word}"))).collect();
        names.extend(last.iter().cloned());
    }
    names.into_iter()
}
