//! Patterns that grant one right, joined into a tree by segments.
//!
//! A check walks the tree along the topic: what it costs depends on the grants that share its
//! beginning and not on how many there are. The naive matcher beside it in [`super::fuzz`] judges it.

use std::fmt;

use crate::protocol::Filter;
use crate::protocol::topic::Pattern;

/// Topics that one right is for.
#[derive(Clone, Default)]
pub(super) struct Grants {
    /// The first is the root, once there is one.
    nodes: Vec<Node>,
    patterns: Vec<Pattern>,
}

#[derive(Clone, Default)]
struct Node {
    /// Where literal segments lead, in the order of their bytes.
    literals: Vec<(Box<str>, u32)>,
    /// Where `*` leads.
    any: Option<u32>,
    /// A grant ends here.
    ends: bool,
    /// A grant ends here with `>`: it is for everything below.
    tail: bool,
}

impl Grants {
    pub(super) fn add(&mut self, pattern: Pattern) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in pattern.as_str().split('.') {
            match segment {
                ">" => {
                    self.nodes[at].tail = true;
                    self.patterns.push(pattern);
                    return;
                }
                "*" => {
                    at = match self.nodes[at].any {
                        Some(next) => next as usize,
                        None => {
                            let next = self.new_node();
                            self.nodes[at].any = Some(next);
                            next as usize
                        }
                    };
                }
                literal => {
                    let found = self.nodes[at].literals.binary_search_by(|(known, _)| (**known).cmp(literal));
                    at = match found {
                        Ok(place) => self.nodes[at].literals[place].1 as usize,
                        Err(place) => {
                            let next = self.new_node();
                            self.nodes[at].literals.insert(place, (literal.into(), next));
                            next as usize
                        }
                    };
                }
            }
        }
        self.nodes[at].ends = true;
        self.patterns.push(pattern);
    }

    /// Lets go of what nothing is in: each connection holds its own.
    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.nodes.iter_mut().for_each(|node| node.literals.shrink_to_fit());
        self.patterns.shrink_to_fit();
    }

    fn new_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as u32
    }

    /// Whether one of the grants is for all that `wanted` names: the topic, or every topic that matches
    /// the pattern.
    ///
    /// As in a subscription, a wildcard in the first segment is not for topics that begin with `$`.
    pub(super) fn cover(&self, wanted: &str) -> bool {
        let Some(root) = self.nodes.first() else { return false };
        let (first, rest) = first_segment(wanted);
        if first.starts_with('$') {
            return root.literal(first).is_some_and(|next| self.below(next, rest));
        }
        self.covers_from(0, wanted)
    }

    fn covers_from(&self, at: u32, wanted: &str) -> bool {
        let node = &self.nodes[at as usize];
        if node.tail {
            return true;
        }
        let (segment, rest) = first_segment(wanted);
        match segment {
            // Only `>` is for as much as `>`.
            ">" => false,
            "*" => node.any.is_some_and(|next| self.below(next, rest)),
            literal => {
                node.literal(literal).is_some_and(|next| self.below(next, rest))
                    || node.any.is_some_and(|next| self.below(next, rest))
            }
        }
    }

    fn below(&self, at: u32, rest: Option<&str>) -> bool {
        match rest {
            None => self.nodes[at as usize].ends,
            Some(rest) => self.covers_from(at, rest),
        }
    }

    /// Whether everything that `others` grant is granted here.
    pub(super) fn cover_all(&self, others: &Grants) -> bool {
        others.patterns.iter().all(|pattern| self.cover(pattern.as_str()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl Node {
    fn literal(&self, segment: &str) -> Option<u32> {
        let place = self.literals.binary_search_by(|(known, _)| (**known).cmp(segment)).ok()?;
        Some(self.literals[place].1)
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.patterns.iter().map(Pattern::as_str)).finish()
    }
}

/// What stands for the subject in a grant.
pub(super) const SUBJECT: &str = "{sub}";

/// The pattern that a grant stands for, with `{sub}` replaced, if it grants anything.
///
/// A grant that is no pattern, or names a subject that is no segment, grants nothing: to guess what was
/// meant could grant too much.
pub(super) fn grant(text: &str, subject: Option<&str>) -> Option<Pattern> {
    if !text.contains(SUBJECT) {
        return Pattern::parse(text).ok();
    }
    let subject = subject.filter(|subject| is_segment(subject))?;
    Pattern::parse(&text.replace(SUBJECT, subject)).ok()
}

/// Whether a subject may stand for a segment of a topic's name.
fn is_segment(subject: &str) -> bool {
    let legal = matches!(Filter::parse(subject), Ok(Filter::Topic(_)));
    legal && !subject.contains('.') && !subject.starts_with('$')
}

fn first_segment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}
