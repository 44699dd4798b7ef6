//! The grammar of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::protocol::Encoding;

use super::bench::BenchArguments;

/// A pub/sub message broker over WebSockets.
///
/// Without a command it serves, as `fanfare serve` does.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    ///
    /// Prints http://HOST:PORT, one a line, once it listens; logs go to standard error. Settings come
    /// from the file, then from variables such as FANFARE_LIMITS__CONNECTIONS, then from flags.
    Serve(ServeArguments),
    /// Say what is wrong with a configuration
    ///
    /// Reads what `serve` would read, and prints each problem with its line, its key and the nearest
    /// known key.
    Check(CheckArguments),
    /// Publish a message, or each line of standard input
    ///
    /// Ends once everything is published, and at the first line that is refused; lines behind that one
    /// which were on their way already may have been published. When the server asks for patience the
    /// line is sent again, and lines on their way may come out ahead of it.
    Pub(PubArguments),
    /// Follow topics: print each message and gap as a line of JSON
    Sub(SubArguments),
    /// Make a token, or an API key, for trying things out
    ///
    /// The token is signed with the first secret of the configuration, for its first issuer and audience.
    /// With --api-key it makes a random key and shows what to put into the configuration for it.
    Token(TokenArguments),
    /// Put load on a server, and measure and check what comes of it
    ///
    /// Subscribers follow topics, publishers publish to them, and every message of every subscriber is checked.
    /// Prints a table, or JSON. The status is 0 if the run went through and every limit of --expect held.
    Bench(Box<BenchArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// A configuration file (TOML); config/fanfare.toml explains every setting
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, instead of server.listen; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Vec<String>,
    /// Publish this machine's own figures under `host.`
    #[arg(long)]
    pub(crate) demo: bool,
    /// Listen beyond loopback although anybody who reaches it may publish and subscribe
    #[arg(long)]
    pub(crate) insecure_open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Check it as for `serve --insecure-open`
    #[arg(long)]
    pub(crate) insecure_open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PubArguments {
    /// The topic
    pub(crate) topic: String,
    /// What to publish: JSON if it parses, else a string; without it, each line of standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SubArguments {
    /// Topics and patterns: `*` stands for one segment, `>` at the end for one or more
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    /// Whose token it is
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// What it may follow: a topic or a pattern, in which {sub} stands for the subject; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) subscribe: Vec<String>,
    /// What it may publish to; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) publish: Vec<String>,
    /// Whose members it may see and be one of; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) presence: Vec<String>,
    /// Whose earlier messages it may ask for; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) history: Vec<String>,
    /// Allow it to administer
    #[arg(long)]
    pub(crate) admin: bool,
    /// For how many seconds it counts
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) seconds: u64,
    /// The server's configuration file; without one, the environment alone
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Make an API key for a backend of this name instead
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subject", "config", "seconds"])]
    pub(crate) api_key: Option<String>,
}

/// Which server to talk to, and how.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The server: ws://HOST:PORT/ws or http://HOST:PORT
    #[arg(long, env = "FANFARE_URL", default_value = "ws://127.0.0.1:7070/ws")]
    pub(crate) url: String,
    /// The token to show, if the server asks for one
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The encoding to speak; what is printed is JSON in any case
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Msgpack,
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Encoding {
        match format {
            Format::Json => Encoding::Json,
            Format::Msgpack => Encoding::MsgPack,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Arguments, Command};

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn the_grammar_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve() {
        let arguments = parse("fanfare --demo --listen 127.0.0.1:0 --listen [::1]:0").expect("right");
        assert!(arguments.command.is_none());
        assert!(arguments.serve.demo);
        assert_eq!(arguments.serve.listen, ["127.0.0.1:0", "[::1]:0"]);
        assert!(
            matches!(parse("fanfare serve --demo").expect("right").command, Some(Command::Serve(serve)) if serve.demo)
        );
    }

    #[test]
    fn data_may_be_a_negative_number_and_flags_may_follow() {
        let Some(Command::Pub(arguments)) = parse("fanfare pub t -5 --format msgpack").expect("right").command else {
            panic!("another command");
        };
        assert_eq!(arguments.data.as_deref(), Some("-5"));
        assert_eq!(arguments.server.format, super::Format::Msgpack);
        let Some(Command::Pub(arguments)) = parse("fanfare pub t --url http://a:1").expect("right").command else {
            panic!("another command");
        };
        assert_eq!(arguments.data, None);
        assert_eq!(arguments.server.url, "http://a:1");
    }

    #[test]
    fn what_is_missing_is_refused() {
        for wrong in ["fanfare sub", "fanfare pub", "fanfare check", "fanfare nonsense", "fanfare sub a --format xml"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
