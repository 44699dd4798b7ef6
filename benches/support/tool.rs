//! `fanfare bench` as a load, and what it says of a server.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Result;
use crate::support::server::Server;

/// Its report, as JSON.
pub(crate) struct Report(Value);

impl Report {
    /// Loads the server. `spins` wants a processor of its own for the load, to which the calling thread is pinned;
    /// `settings` are of the tool's environment.
    ///
    /// # Errors
    ///
    /// When it has nothing to report.
    pub(crate) fn of(server: &Server, words: &[String], spins: bool, settings: &[(&str, &str)]) -> Result<Report> {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        tool.args(["bench", "--json", "--threads", "1"]).args(words).envs(settings.iter().copied());
        tool.args(["--url", &format!("ws://{}", server.address), "--server-pid", &server.pid().to_string()]);
        if spins {
            tool.arg("--spin");
        }
        let output = tool.stdin(Stdio::null()).output()?;
        let report = serde_json::from_slice(&output.stdout);
        Ok(Report(report.map_err(|_| format!("no report: {}", String::from_utf8_lossy(&output.stderr).trim()))?))
    }

    /// The value at a path of keys with dots between them.
    fn at(&self, path: &str) -> &Value {
        path.split('.').fold(&self.0, |value, key| &value[key])
    }

    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.at(path).as_f64()
    }

    /// Zero where nothing was counted.
    pub(crate) fn count(&self, path: &str) -> u64 {
        self.at(path).as_u64().unwrap_or(0)
    }

    /// Why it did not go through, if it did not.
    pub(crate) fn failure(&self) -> Option<&str> {
        let said = || self.at("reason").as_str().unwrap_or("it did not go through");
        (self.0["complete"] != true).then(said)
    }
}
