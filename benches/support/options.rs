//! What every bench with a command line of its own understands.

use std::slice::Iter;

use super::Result;

/// How a run is to be made.
pub(crate) struct Options {
    /// A smoke run of seconds: small, unpinned, no goals.
    pub(crate) quick: bool,
    /// Whether the tables go into `docs/benchmarks.md`.
    pub(crate) write: bool,
    pub(crate) rounds: usize,
}

impl Options {
    /// Reads `--quick`, `--write` and `--rounds N`, which is at most `rounds_max`. `other` is asked about every other
    /// option, takes its value from the rest, and says whether it knows it.
    ///
    /// # Errors
    ///
    /// When an option is nobody's, or a value is none.
    pub(crate) fn parse(
        args: &[String],
        (rounds, rounds_max): (usize, usize),
        mut other: impl FnMut(&str, &mut Iter<'_, String>) -> Result<bool>,
    ) -> Result<Options> {
        // `cargo bench` says `--bench`; without it this is `cargo test`, which wants a moment's proof.
        let mut quick = !args.iter().any(|arg| arg == "--bench");
        let (mut write, mut asked) = (false, None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => {}
                "--quick" => quick = true,
                "--write" => write = true,
                "--rounds" => {
                    let count: usize = args.next().ok_or("--rounds wants a number")?.parse()?;
                    asked = Some(count.clamp(1, rounds_max));
                }
                arg if other(arg, &mut args)? => {}
                arg => return Err(format!("unknown option {arg}").into()),
            }
        }
        if write && quick {
            return Err("a smoke run has no place in docs/benchmarks.md".into());
        }
        Ok(Options { quick, write, rounds: asked.unwrap_or(if quick { 1 } else { rounds }) })
    }
}
