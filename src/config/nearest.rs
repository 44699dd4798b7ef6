//! The known key that a misspelt one probably meant.

/// The nearest of `known`, and whether it is near enough to be what was meant.
///
/// A key that is right but for its section counts as near: `limits.heartbeat_ms` means
/// `keep_alive.heartbeat_ms`, though few of their letters agree.
pub(crate) fn nearest(key: &str, known: impl Iterator<Item = &'static str>) -> (&'static str, bool) {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let name = last(key);
    let best = known
        .map(|candidate| {
            let by_name = 2 + distance(&name, &last(candidate));
            let far = distance(key, candidate).min(by_name);
            (far, candidate)
        })
        .min();
    match best {
        Some((far, candidate)) => (candidate, far <= 2 + key.len() / 8),
        None => ("", false),
    }
}

/// The edit distance (Levenshtein): insertions, deletions and substitutions, each counting one.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // `row[j]` is the distance between the part of `a` that was read and the first `j` of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("conections", "connections", 1),
            ("añb", "anb", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_right_name_in_the_wrong_section_is_found() {
        let known = ["limits.connections", "keep_alive.heartbeat_ms", "log.level"];
        let check = |key, expected| assert_eq!(nearest(key, known.into_iter()), expected, "{key}");
        check("limits.conections", ("limits.connections", true));
        check("limits.heartbeat_ms", ("keep_alive.heartbeat_ms", true));
        check("connections", ("limits.connections", true));
        check("qqqqqqqqqqqqqqqqqq", ("limits.connections", false));
    }
}
