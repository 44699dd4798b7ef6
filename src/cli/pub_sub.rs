//! `fanfare pub` and `fanfare sub`.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::args::{PubArguments, SubArguments};
use super::client::{Client, ClientError, Command};
use super::event::{Event, to_json};
use super::input::{self, LineError};
use super::{complain, say};

/// Publishes what the arguments or the lines of standard input say. Succeeds once all is published.
pub(crate) async fn publish(arguments: PubArguments) -> ExitCode {
    let client = match Client::connect(&arguments.server).await {
        Ok(client) => client,
        Err(error) => return failed(error),
    };
    let bytes_max = client.message_bytes_max;
    let (lines, numbered) = match arguments.data {
        Some(data) => {
            let (sender, lines) = mpsc::channel(1);
            // The channel has room for the one line that will ever be in it.
            let _ = sender.try_send(Ok(data));
            (lines, false)
        }
        None => (input::lines(bytes_max), true),
    };
    match publish_lines(client, &arguments.topic, lines).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(PublishError::Line(number, error)) if numbered => failed(format_args!("line {number}: {error}")),
        Err(PublishError::Line(_, error)) => failed(error),
        Err(PublishError::Connection(error)) => failed(error),
    }
}

/// Prints what is published to the topics until the connection ends or somebody interrupts.
pub(crate) async fn subscribe(arguments: SubArguments) -> ExitCode {
    let client = match Client::connect(&arguments.server).await {
        Ok(client) => client,
        Err(error) => return failed(error),
    };
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Then the signal ends the process, as it does by default.
            std::future::pending::<()>().await;
        }
    };
    let mut out = io::stdout().lock();
    match follow(client, &arguments.topics, &mut out, interrupt).await {
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        // Whoever read the output has seen enough: `fanfare sub a | head -1`.
        Ok(End::NobodyReads) => ExitCode::SUCCESS,
        Err(SubscribeError::Connection(error)) => failed(error),
        Err(SubscribeError::Output(error)) => failed(error),
    }
}

/// 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

fn failed(error: impl std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// Why not everything was published.
#[derive(Debug, Error)]
enum PublishError {
    /// That line was refused; the count begins with one.
    #[error("line {0}: {1}")]
    Line(u64, LineFault),
    #[error(transparent)]
    Connection(#[from] ClientError),
}

#[derive(Debug, Error)]
enum LineFault {
    #[error(transparent)]
    Input(#[from] LineError),
    #[error("the command has {0} bytes, the server takes {1}")]
    TooLong(usize, usize),
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// A line that was sent, or has to be sent again.
struct Line {
    number: u64,
    command: Command,
    /// When the server first asked for patience with it.
    refused: Option<Instant>,
}

/// Publishes that are on their way at a time. Enough to hide the network's delay; small enough that
/// a server which is behind notices its publishers wait.
const WINDOW: usize = 64;
/// A server that has asked for patience with one line for so long is not going to take it.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a server that names no time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Publishes `lines` in their order.
///
/// When the server asks for patience, everything on its way is waited for, and what was refused is
/// sent again, one line at a time; the window then grows by one with each line that is published.
/// Lines that were on their way together can change places only where it is wider than one.
async fn publish_lines<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Client<S>,
    topic: &str,
    mut lines: mpsc::Receiver<Result<String, LineError>>,
) -> Result<(), PublishError> {
    let mut sent: VecDeque<Line> = VecDeque::new();
    let mut again: VecDeque<Line> = VecDeque::new();
    let mut again_at = Instant::now();
    let mut window = WINDOW;
    let mut number = 0;
    let mut ended = false;
    while !(ended && sent.is_empty() && again.is_empty()) {
        tokio::select! {
            event = client.next() => match event? {
                Event::Published(id) => {
                    sent.retain(|line| line.number != id);
                    window = WINDOW.min(window + 1);
                }
                Event::Error(refused) => {
                    let place = sent.iter().position(|line| Some(line.number) == refused.id);
                    let Some(mut line) = place.and_then(|place| sent.remove(place)) else {
                        return Err(ClientError::from(refused).into());
                    };
                    let now = Instant::now();
                    let since = *line.refused.get_or_insert(now);
                    if !refused.is_temporary() || now - since > PATIENCE {
                        return Err(PublishError::Line(line.number, ClientError::from(refused).into()));
                    }
                    let after = refused.retry_after_ms.map_or(RETRY_AFTER, Duration::from_millis);
                    again_at = again_at.max(now + after.min(PATIENCE));
                    let place = again.partition_point(|other| other.number < line.number);
                    again.insert(place, line);
                    window = 1;
                }
                _ => {}
            },
            () = sleep_until(again_at), if sent.is_empty() && !again.is_empty() => {
                if let Some(line) = again.pop_front() {
                    client.feed(line.command.clone()).await?;
                    client.flush().await?;
                    sent.push_back(line);
                }
            }
            line = lines.recv(), if !ended && again.is_empty() && sent.len() < window => {
                let mut next = line;
                loop {
                    let Some(line) = next else {
                        ended = true;
                        break;
                    };
                    number += 1;
                    let command = encode(&client, number, topic, line)
                        .map_err(|fault| PublishError::Line(number, fault))?;
                    client.feed(command.clone()).await?;
                    sent.push_back(Line { number, command, refused: None });
                    // What waits already leaves with the same write.
                    if sent.len() >= window {
                        break;
                    }
                    match lines.try_recv() {
                        Ok(line) => next = Some(line),
                        Err(_) => break,
                    }
                }
                client.flush().await?;
            }
        }
    }
    client.close().await;
    Ok(())
}

fn encode<S: AsyncRead + AsyncWrite + Unpin>(
    client: &Client<S>,
    number: u64,
    topic: &str,
    line: Result<String, LineError>,
) -> Result<Command, LineFault> {
    let command = client.publish(number, topic, &to_json(line?))?;
    // The server would close the connection, and with it whatever else is on its way.
    if command.len() > client.message_bytes_max {
        return Err(LineFault::TooLong(command.len(), client.message_bytes_max));
    }
    Ok(command)
}

/// Why `sub` ended without anything being wrong.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Interrupted,
    NobodyReads,
}

#[derive(Debug, Error)]
enum SubscribeError {
    #[error(transparent)]
    Connection(#[from] ClientError),
    #[error("cannot write: {0}")]
    Output(io::Error),
}

/// Lines that leave in one write when they arrived together.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Writes the messages and gaps of `topics` to `out`, each as soon as it arrives.
async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Client<S>,
    topics: &[String],
    out: &mut impl Write,
    interrupt: impl Future<Output = ()>,
) -> Result<End, SubscribeError> {
    tokio::pin!(interrupt);
    let command = client.subscribe(topics);
    client.feed(command).await?;
    client.flush().await?;
    let mut text = Vec::new();
    loop {
        let mut event = tokio::select! {
            event = client.next() => Some(event),
            () = &mut interrupt => {
                client.close().await;
                return Ok(End::Interrupted);
            }
        };
        let mut failure = None;
        while let Some(result) = event.take() {
            match result {
                Ok(Event::Shown(line)) => {
                    text.extend_from_slice(line.as_bytes());
                    text.push(b'\n');
                }
                Ok(Event::Subscribed(subscribed)) => {
                    say(format_args!("subscribed: {}", subscribed.topic));
                }
                Ok(Event::Error(refused)) => failure = Some(ClientError::from(refused)),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            if failure.is_none() && text.len() < OUTPUT_BYTES {
                event = client.next().now_or_never();
            }
        }
        // What came before the end is shown before the end is told.
        match out.write_all(&text).and_then(|()| out.flush()) {
            Ok(()) => text.clear(),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                client.close().await;
                return Ok(End::NobodyReads);
            }
            Err(error) => return Err(SubscribeError::Output(error)),
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
    }
}

#[cfg(test)]
#[path = "pub_sub_tests.rs"]
mod tests;
