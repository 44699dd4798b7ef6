//! Browsers that offer permessage-deflate and do it wrong.

/// A browser, by its `User-Agent`.
struct Broken {
    /// What stands before the major version.
    mark: &'static str,
    major: u32,
    /// The last minor version that is broken.
    minor_max: u32,
    /// What else must be there.
    with: &'static str,
}

/// All of them.
const BROKEN: &[Broken] = &[
    // Safari 15.0 to 15.3 and all browsers of iOS of that time: connections break at messages that were
    // compressed without context takeover. uWebSockets declines for the same versions.
    Broken { mark: " Version/", major: 15, minor_max: 3, with: " Safari/" },
];

/// Whether the browser is one of those.
pub(super) fn is_broken(user_agent: &str) -> bool {
    BROKEN.iter().any(|broken| {
        let Some((_, rest)) = user_agent.split_once(broken.mark) else { return false };
        let Some((version, rest)) = rest.split_once(' ') else { return false };
        let mut numbers = version.split('.').map(str::parse::<u32>);
        let (major, minor) = (numbers.next(), numbers.next().unwrap_or(Ok(0)));
        let is_version = major == Some(Ok(broken.major)) && minor.is_ok_and(|minor| minor <= broken.minor_max);
        is_version && rest.contains(broken.with.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safari(version: &str) -> String {
        format!(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{version} \
             Safari/605.1.15"
        )
    }

    #[test]
    fn some_versions_of_safari_are_known_to_be_broken() {
        for (version, broken) in [
            ("15.0", true),
            ("15.3", true),
            ("15", true),
            ("15.3.1", true),
            ("15.4", false),
            ("14.1", false),
            ("16.3", false),
            ("x", false),
        ] {
            assert_eq!(is_broken(&safari(version)), broken, "{version}");
        }
        assert!(!is_broken("Mozilla/5.0 Version/15.1 Something/1"));
        assert!(!is_broken(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
        ));
        assert!(!is_broken(""));
    }
}
