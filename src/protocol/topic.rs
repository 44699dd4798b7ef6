//! Topic names and the patterns that match them.
//!
//! A name is 1 to 255 bytes of UTF-8 in segments separated by `.`. Whoever holds a [`TopicName`] or
//! a [`Pattern`] knows that the grammar holds; nobody checks again.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The most bytes that a topic's name or a pattern may have.
pub const TOPIC_BYTES_MAX: usize = 255;

/// The name of one topic, well-formed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`TopicError`] says which rule it breaks, and where.
    pub fn parse(text: &str) -> Result<TopicName, TopicError> {
        check(text, Wildcards::Refused)?;
        Ok(TopicName(Arc::from(text)))
    }

    /// Whether the name belongs to the server: it begins with `$`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What matches many topics: `*` stands for one segment, a last `>` for one or more.
///
/// A pattern without a wildcard is well-formed and matches the topic of that name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    ///
    /// [`TopicError`] says which rule it breaks, and where.
    pub fn parse(text: &str) -> Result<Pattern, TopicError> {
        check(text, Wildcards::Allowed)?;
        Ok(Pattern(Arc::from(text)))
    }

    /// Whether the pattern matches the topic of this name.
    ///
    /// A wildcard never matches a first segment that begins with `$`: who follows everything does
    /// not follow the server's own topics unasked.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut pattern = self.0.as_bytes();
        let mut name = name.as_bytes();
        if name.first() == Some(&b'$') && pattern.first() != Some(&b'$') {
            return false;
        }
        loop {
            if pattern == b">" {
                return true;
            }
            let (wanted, pattern_rest) = first_segment(pattern);
            let (found, name_rest) = first_segment(name);
            if wanted != b"*" && wanted != found {
                return false;
            }
            match (pattern_rest, name_rest) {
                (None, None) => return true,
                (Some(after), Some(left)) => (pattern, name) = (after, left),
                (None, Some(_)) | (Some(_), None) => return false,
            }
        }
    }

    /// The text that everything it matches begins with: where a range scan over sorted names starts.
    ///
    /// `prices.>` gives `prices.`, `*.a` gives nothing, a pattern without a wildcard gives itself.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        let end = self.0.find(['*', '>']).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// Whether it can only match topics of the server's own: its first segment begins with `$`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a subscription names: one topic, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// The topic of this name.
    Topic(TopicName),
    /// Every topic that matches; holds at least one wildcard.
    Pattern(Pattern),
}

impl Filter {
    /// Checks a name or a pattern; a wildcard anywhere makes it a pattern.
    ///
    /// # Errors
    ///
    /// [`TopicError`] says which rule it breaks, and where.
    pub fn parse(text: &str) -> Result<Filter, TopicError> {
        if text.bytes().any(|byte| byte == b'*' || byte == b'>') {
            Pattern::parse(text).map(Filter::Pattern)
        } else {
            TopicName::parse(text).map(Filter::Topic)
        }
    }

    /// The name or pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Filter::Topic(name) => name.as_str(),
            Filter::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether it is about topics of the server's own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with('$')
    }
}

/// Which rule of the grammar a name or pattern breaks, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No text at all.
    #[error("topic is empty")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("topic has {bytes} bytes, more than {TOPIC_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Two dots in a row, or one at either end.
    #[error("topic has an empty segment at byte {at}")]
    EmptySegment {
        /// Where the segment would begin.
        at: usize,
    },
    /// White space or a control character.
    #[error("topic has the character {character:?} at byte {at}")]
    Character {
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// `*` or `>` where only a name may stand.
    #[error("topic has a wildcard at byte {at} where a name is needed")]
    Wildcard {
        /// Where it stands.
        at: usize,
    },
    /// `*` or `>` beside other characters in one segment.
    #[error("pattern has a wildcard inside a segment at byte {at}")]
    WildcardInside {
        /// Where it stands.
        at: usize,
    },
    /// `>` in a segment that is not the last.
    #[error("pattern has `>` at byte {at}, before the last segment")]
    TailNotLast {
        /// Where it stands.
        at: usize,
    },
}

/// Implements what both kinds of text share; a macro, for a trait cannot implement foreign traits.
macro_rules! text_traits {
    ($($name:ident)*) => {$(
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = TopicError;

            fn from_str(text: &str) -> Result<$name, TopicError> {
                $name::parse(text)
            }
        }
    )*};
}

text_traits!(TopicName Pattern);

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wildcards {
    Refused,
    Allowed,
}

fn check(text: &str, wildcards: Wildcards) -> Result<(), TopicError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { bytes: bytes.len() });
    }
    let mut segment_at = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if at == segment_at => return Err(TopicError::EmptySegment { at }),
            b'.' => segment_at = at + 1,
            b'*' | b'>' if wildcards == Wildcards::Refused => {
                return Err(TopicError::Wildcard { at });
            }
            b'*' | b'>' => {
                let next = bytes.get(at + 1);
                if at != segment_at || next.is_some_and(|&next| next != b'.') {
                    return Err(TopicError::WildcardInside { at });
                }
                if byte == b'>' && next.is_some() {
                    return Err(TopicError::TailNotLast { at });
                }
            }
            0..=0x20 | 0x7f => {
                return Err(TopicError::Character { character: char::from(byte), at });
            }
            _ => {}
        }
    }
    if segment_at == bytes.len() {
        return Err(TopicError::EmptySegment { at: segment_at });
    }
    if text.is_ascii() {
        return Ok(());
    }
    // White space and control characters also live beyond ASCII (U+0085, U+00A0, U+2028, ...).
    match text.char_indices().find(|(_, c)| c.is_whitespace() || c.is_control()) {
        Some((at, character)) => Err(TopicError::Character { character, at }),
        None => Ok(()),
    }
}

/// The text before the first dot, and what follows the dot if there is one.
fn first_segment(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fuzz_topic_pattern;
    use super::*;

    /// The pattern matches all of `matched` and none of the `others`.
    fn check(pattern: &str, matched: &[&str], others: &[&str]) {
        let parsed = Pattern::parse(pattern).expect("a pattern of the test");
        for name in matched {
            assert!(parsed.matches(name), "{pattern} and {name}");
            assert!(name.starts_with(parsed.literal_prefix()), "{pattern} and {name}");
        }
        for name in others {
            assert!(!parsed.matches(name), "{pattern} and {name}");
        }
    }

    #[test]
    fn tail_needs_at_least_one_segment() {
        check("a.>", &["a.b", "a.b.c"], &["a"]);
        check(">", &["a", "a.b"], &[]);
        check("*.>", &["a.b"], &["a"]);
    }

    #[test]
    fn star_stands_for_exactly_one_segment() {
        check("a.*", &["a.b"], &["a.b.c", "a"]);
        check("*.b", &["a.b"], &["a.c"]);
    }

    #[test]
    fn wildcard_never_matches_a_first_segment_of_the_server() {
        check(">", &[], &["$stats"]);
        check("*", &[], &["$stats"]);
        check("*.a", &[], &["$stats.a"]);
        check("$stats.*", &["$stats.a"], &[]);
        check("$stats.>", &["$stats.a.b"], &[]);
        check("a.*", &["a.$b"], &[]);
    }

    #[test]
    fn pattern_without_wildcard_matches_its_own_name() {
        check("a.b", &["a.b"], &["a.c"]);
    }

    #[test]
    fn literal_prefix_ends_before_the_first_wildcard() {
        for (pattern, expected) in [("prices.>", "prices."), ("*.a", ""), ("a.*.b", "a."), ("a.b", "a.b")] {
            assert_eq!(Pattern::parse(pattern).expect("well-formed").literal_prefix(), expected);
        }
    }

    #[test]
    fn reserved_names_begin_with_a_dollar() {
        assert!(TopicName::parse("$stats").expect("well-formed").is_reserved());
        assert!(!TopicName::parse("a.$b").expect("well-formed").is_reserved());
        assert!(Filter::parse("$stats.>").expect("well-formed").is_reserved());
    }

    proptest! {
        #[test]
        fn grammar_and_matcher_agree_with_the_naive_ones(text in "[ab$.]{1,5}\n[ab$.]{1,5}") {
            fuzz_topic_pattern(text.as_bytes());
        }

        #[test]
        fn patterns_agree_with_the_naive_matcher(
            pattern in prop::collection::vec(prop_oneof!["[ab$]", Just("*".to_owned())], 1..5),
            tail: bool,
            name in prop::collection::vec("[ab$]", 1..5),
        ) {
            let tail = if tail { ".>" } else { "" };
            let text = format!("{}{tail}\n{}", pattern.join("."), name.join("."));
            fuzz_topic_pattern(text.as_bytes());
        }

        #[test]
        fn grammar_agrees_with_the_naive_one(text in "[ab.*>\u{a0}\u{85}é \u{7f}]{0,6}") {
            fuzz_topic_pattern(text.as_bytes());
        }
    }
}
