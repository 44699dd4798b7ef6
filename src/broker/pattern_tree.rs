//! Patterns, found by the name they match.
//!
//! A tree of segments with one child per literal, one for `*`, and the value of a final `>`. Finding
//! all matches of a name walks the branches that its segments allow, so the cost follows the depth of
//! the name and the number of matches, not the number of patterns.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::protocol::Pattern;

/// A map from patterns to `V`.
#[derive(Debug)]
pub(crate) struct PatternTree<V> {
    root: Node<V>,
}

#[derive(Debug)]
struct Node<V> {
    literals: HashMap<Box<str>, Node<V>, RandomState>,
    star: Option<Box<Node<V>>>,
    /// The value of the pattern that ends here.
    value: Option<V>,
    /// The value of the pattern whose last segment, a `>`, stands below this node.
    rest: Option<V>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Node { literals: HashMap::default(), star: None, value: None, rest: None }
    }
}

impl<V> Default for PatternTree<V> {
    fn default() -> Self {
        PatternTree { root: Node::default() }
    }
}

impl<V> PatternTree<V> {
    /// The value of `pattern`, which is put in if it is not there.
    pub(crate) fn entry(&mut self, pattern: &Pattern, default: impl FnOnce() -> V) -> &mut V {
        let mut node = &mut self.root;
        for segment in pattern.split('.') {
            match segment {
                // The grammar has it that a `>` is the last segment.
                ">" => return node.rest.get_or_insert_with(default),
                "*" => node = node.star.get_or_insert_default(),
                literal => node = node.literals.entry(literal.into()).or_default(),
            }
        }
        node.value.get_or_insert_with(default)
    }

    pub(crate) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut V> {
        let mut node = &mut self.root;
        for segment in pattern.split('.') {
            match segment {
                ">" => return node.rest.as_mut(),
                "*" => node = node.star.as_deref_mut()?,
                literal => node = node.literals.get_mut(literal)?,
            }
        }
        node.value.as_mut()
    }

    /// Takes `pattern` out, with the branches that only it needed.
    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<V> {
        let segments: Vec<&str> = pattern.split('.').collect();
        self.root.remove(&segments)
    }

    /// Calls `found` with the value of each pattern that matches `topic`.
    pub(crate) fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a V)) {
        // A wildcard never matches a first segment that begins with `$`.
        if topic.starts_with('$') {
            let (first, rest) = topic.split_once('.').map_or((topic, None), |(first, rest)| (first, Some(rest)));
            if let Some(child) = self.root.literals.get(first) {
                child.matches(rest, &mut found);
            }
        } else {
            self.root.matches(Some(topic), &mut found);
        }
    }
}

impl<V> Node<V> {
    /// `left` is what remains of the name; `None` when all its segments have been walked.
    fn matches<'a>(&'a self, left: Option<&str>, found: &mut impl FnMut(&'a V)) {
        let Some(left) = left else {
            if let Some(value) = &self.value {
                found(value);
            }
            return;
        };
        if let Some(value) = &self.rest {
            found(value);
        }
        let (segment, left) = left.split_once('.').map_or((left, None), |(segment, left)| (segment, Some(left)));
        if let Some(star) = &self.star {
            star.matches(left, found);
        }
        if let Some(child) = self.literals.get(segment) {
            child.matches(left, found);
        }
    }

    fn remove(&mut self, segments: &[&str]) -> Option<V> {
        let Some((segment, left)) = segments.split_first() else {
            return self.value.take();
        };
        match *segment {
            ">" => self.rest.take(),
            "*" => {
                let star = self.star.as_mut()?;
                let value = star.remove(left);
                if star.is_empty() {
                    self.star = None;
                }
                value
            }
            literal => {
                let child = self.literals.get_mut(literal)?;
                let value = child.remove(left);
                if child.is_empty() {
                    self.literals.remove(literal);
                }
                value
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.star.is_none() && self.value.is_none() && self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matching(patterns: &[&str], topic: &str) -> Vec<String> {
        let mut tree = PatternTree::default();
        for pattern in patterns {
            tree.entry(&Pattern::parse(pattern).expect("a pattern"), || (*pattern).to_owned());
        }
        let mut found = Vec::new();
        tree.matches(topic, |value| found.push(value.clone()));
        found.sort();
        found
    }

    #[test]
    fn a_star_stands_for_one_segment_and_the_rest_for_one_or_more() {
        let patterns = ["a.*", "a.>", "*.b", ">", "*", "a.*.c"];
        assert_eq!(matching(&patterns, "a.b"), ["*.b", ">", "a.*", "a.>"]);
        assert_eq!(matching(&patterns, "a"), ["*", ">"]);
        assert_eq!(matching(&patterns, "a.b.c"), [">", "a.*.c", "a.>"]);
    }

    #[test]
    fn wildcards_do_not_match_a_first_segment_of_the_server() {
        assert_eq!(matching(&[">", "*", "*.x", "$sys.>", "$sys.*"], "$sys.x"), ["$sys.*", "$sys.>"]);
    }

    #[test]
    fn a_removed_pattern_leaves_no_branch_behind() {
        let mut tree = PatternTree::default();
        let pattern = |text: &str| Pattern::parse(text).expect("a pattern");
        tree.entry(&pattern("a.*.c"), || 1);
        tree.entry(&pattern("a.>"), || 2);
        assert_eq!(tree.remove(&pattern("a.*.c")), Some(1));
        assert_eq!(tree.remove(&pattern("a.*.c")), None);
        assert_eq!(tree.get_mut(&pattern("a.>")), Some(&mut 2));
        assert_eq!(tree.remove(&pattern("a.>")), Some(2));
        assert!(tree.root.is_empty());
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_each_pattern_alone_would_match(
            patterns in proptest::collection::vec("(a|b|\\*|\\$s)(\\.(a|b|\\*)){0,2}(\\.>)?", 1..12),
            topic in "(a|b|\\$s)(\\.(a|b)){0,4}",
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).filter(|text| text.contains(['*', '>'])).collect();
            let mut expected: Vec<String> = patterns
                .iter()
                .filter(|text| Pattern::parse(text).expect("a pattern").matches(&topic))
                .map(|text| (*text).to_owned())
                .collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(matching(&patterns, &topic), expected);
        }
    }
}
