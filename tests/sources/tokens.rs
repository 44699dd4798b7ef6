//! Splits Rust into words and signs, for tests that read sources.

/// A word or a sign of Rust, and the line it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// The words and signs of a source file, without comments, strings and character literals. `::` is one
/// sign; all others are single characters.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, counts) = if let Some(length) = passed_over(rest) {
            (length, false)
        } else if first.is_alphanumeric() || first == '_' {
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (text, after) = rest.split_at(length);
        if counts {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length of the comment or literal that `rest` begins with.
fn passed_over(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let literal = ["br", "cr", "b", "c", "r", ""]
        .iter()
        .find_map(|prefix| Some((prefix, rest.strip_prefix(prefix)?)).filter(|(_, text)| text.starts_with(['"', '#'])));
    if let Some((prefix, text)) = literal {
        let hashes = text.len() - text.trim_start_matches('#').len();
        let raw = prefix.ends_with('r');
        if text[hashes..].starts_with('"') && (raw || hashes == 0) {
            let inside = &text[hashes + 1..];
            let end = if raw { raw_end(inside, hashes) } else { quoted_end(inside, '"') };
            return Some(prefix.len() + hashes + 1 + end);
        }
    }
    // `'a'` is a character, `'a` a lifetime.
    let inside = rest.strip_prefix('\'')?;
    let mut characters = inside.chars();
    match (characters.next()?, characters.next()?) {
        ('\\', _) | (_, '\'') => Some(1 + quoted_end(inside, '\'')),
        _ => None,
    }
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_end(inside: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    inside.find(&end).map_or(inside.len(), |at| at + end.len())
}

fn quoted_end(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    inside.len()
}
