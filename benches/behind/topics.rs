//! Many topics with a message each, in a process of its own that holds nothing else.

use std::io::Write as _;
use std::process::{Command, Stdio};

use fanfare::{Broker, Data};
use serde_json::json;

use crate::Result;
use crate::support::proc;
use crate::support::server::own;

/// Runs [`hold`].
pub(crate) const OPTION: &str = "--hold-topics";

pub(crate) struct Topics {
    pub(crate) count: usize,
    pub(crate) data_bytes: usize,
    /// Resident bytes of the process.
    pub(crate) resident: f64,
    /// What of it was there before the first topic.
    pub(crate) empty: f64,
}

pub(crate) fn measure(quick: bool) -> Result<Topics> {
    let count = if quick { 10_000 } else { 1_000_000 };
    let mut command: Command = own(OPTION)?;
    let output = command.arg(count.to_string()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the process that holds the topics failed".into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    let mut next = || -> Result<u32> { Ok(numbers.next().ok_or("a number is missing")??) };
    let (data_bytes, empty, resident) = (next()?, next()?, next()?);
    const KIB: f64 = 1024.0;
    Ok(Topics {
        count,
        data_bytes: data_bytes as usize,
        resident: f64::from(resident) * KIB,
        empty: f64::from(empty) * KIB,
    })
}

/// Publishes one message to each of so many topics, and says how large a message is and how many KiB are resident
/// before and after.
pub(crate) fn hold(args: &[String]) -> Result<bool> {
    let count: usize = args.first().ok_or("how many topics?")?.parse()?;
    let data = Data::from_serialize(&json!({"text": "x".repeat(117)}))?;
    let broker = Broker::builder().topics_max(count).retained_bytes_max(usize::MAX).build();
    let empty = proc::resident(std::process::id())?;
    for topic in 0..count {
        // A payload of its own for each, as if each had come from somewhere else.
        let data = Data::json(data.bytes().to_vec())?;
        let published = broker.publisher(&format!("bench.{topic}"))?.try_publish(data);
        let published = published.map_err(|error| error.to_string())?;
        if published.offset != 1 {
            return Err(format!("topic {topic} was there already").into());
        }
    }
    let resident = proc::resident(std::process::id())?;
    for topic in 0..count {
        if broker.history(&format!("bench.{topic}"), 1)?.len() != 1 {
            return Err(format!("topic {topic} no longer holds its message").into());
        }
    }
    writeln!(std::io::stdout(), "{} {} {}", data.bytes().len(), empty / 1024, resident / 1024)?;
    Ok(true)
}
