//! What can be wrong with a configuration, and where it stands.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Everything that is wrong, one problem a line when displayed; never empty.
#[derive(Debug)]
pub(crate) struct ConfigErrors(pub(crate) Vec<Problem>);

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Where it was read.
    pub(crate) place: Place,
    /// The full key, where there is one.
    pub(crate) key: Option<String>,
    /// What is wrong with it.
    pub(crate) fault: Fault,
}

/// Where a value was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file, and the line if it is known, counted from one.
    File { path: PathBuf, line: Option<usize> },
    /// A variable of the environment, by its name.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// What is wrong with a value.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// The file cannot be read at all.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The file is not TOML; the text is the parser's.
    #[error("{0}")]
    Syntax(String),
    /// No setting has that name. `close` tells a slip of the pen from a guess.
    #[error("unknown key, {} {nearest}{}", if *.close { "did you mean" } else { "the nearest known key is" }, if *.close { "?" } else { "" })]
    Unknown { nearest: &'static str, close: bool },
    /// The value is of another type, or out of range.
    #[error("expected {expected}, found {found}")]
    Value { expected: String, found: String },
    /// A rule for topics that does not say which.
    #[error("this rule has no pattern")]
    NoPattern,
    /// A rule for topics that an earlier one hides.
    #[error("the rule in line {0} has the same pattern and comes first")]
    SamePattern(usize),
    /// A key of a backend that does not say whose it is, or what it is.
    #[error("this key needs a name and its sha256")]
    NoKey,
    /// A key that an earlier one has the name or the hash of.
    #[error("the key in line {0} has the same name or hash")]
    SameKey(usize),
    /// Something that only a file can say.
    #[error("rules for topics and keys of backends are read from a file only")]
    FileOnly,
}

/// An address beyond loopback, while nobody is asked who they are.
#[derive(Debug, Error)]
#[error(
    "listening on {0} would let anybody who reaches it publish and subscribe, for no credentials are configured; \
     listen on a loopback address, or say --insecure-open"
)]
pub(crate) struct OpenToAll(pub(crate) String);

impl Place {
    pub(crate) fn file(path: &Path, line: Option<usize>) -> Place {
        Place::File { path: path.to_owned(), line }
    }
}

impl Fault {
    pub(crate) fn value(expected: impl Into<String>, found: impl Into<String>) -> Fault {
        Fault::Value { expected: expected.into(), found: found.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Place::File { path, line: None } => write!(f, "{}", path.display()),
            Place::Variable(name) => f.write_str(name),
            Place::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}", self.fault)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
