//! Incoming messages.
//!
//! A [`Reader`] turns a stream of bytes into messages and control frames. fastwebsockets finds the
//! frames and takes off their masks, the gate before it sees to lengths, limits and order, and
//! what is left is done here: putting fragments together, text, close frames.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use fastwebsockets::{OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::io::AsyncRead;
use tokio::task::yield_now;

use super::gate::{Deflated, Gate};
use super::header::{MESSAGE_TOO_BIG, Violation};
use super::inflate::{History, InflateError, inflate};
use super::text::{InvalidUtf8, PartialText};
use super::{CloseCode, Deflate, Opcode, Utf8Bytes};

/// What a [`Reader`] accepts.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// The longest message, all its fragments together, and inflated if it is compressed. It bounds the
    /// memory that a message takes while it comes in; nothing is reserved before the bytes have come.
    pub message_bytes_max: usize,
    /// The most frames that a message may be cut into; at least one is always allowed. It bounds
    /// the work that empty fragments make.
    pub fragments_max: usize,
}

/// After so many frames inside a message others have their turn: empty ones come from the buffer, without ever waiting.
const TURN_FRAMES: u64 = 64;

/// Reads the messages of a client.
///
/// It costs a buffer of 8 KiB from the start. A connection that waits need not hold one:
/// [`Incoming::Idle`] says when a reader can be dropped without loss.
///
/// # Examples
///
/// ```
/// use fanfare::ws::{Incoming, ReadError, ReadLimits, Reader};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let limits = ReadLimits { message_bytes_max: 65_536, fragments_max: 128 };
/// // "Hello", masked, as in RFC 6455, 5.7, and then a frame that is not masked.
/// let stream = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x81\x00";
/// let mut reader = Reader::new(&stream[..], limits);
///
/// let Ok(Incoming::Text(text)) = reader.next().await else { panic!() };
/// assert_eq!(text.as_str(), "Hello");
///
/// let Err(ReadError::Violation { code, reason }) = reader.next().await else { panic!() };
/// assert_eq!((code.0, reason), (1002, "frame is not masked"));
/// # });
/// ```
pub struct Reader<R> {
    frames: WebSocketRead<Gate<R>>,
    /// Present if permessage-deflate has been agreed on.
    inflation: Option<Inflation>,
    /// The message of which fragments have come.
    message: Option<Partial>,
    /// How many frames have come.
    count: u64,
    /// What every further call says.
    end: Option<End>,
    /// Whether a call is under way; still set if its future was dropped.
    under_way: bool,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message of text. Like all payloads here it is a copy with an allocation of its own size,
    /// so that keeping it keeps no read buffer.
    Text(Utf8Bytes),
    /// A message of bytes.
    Binary(Bytes),
    /// Wants a pong with the same payload.
    Ping(Bytes),
    /// An answer to a ping, or a sign of life.
    Pong(Bytes),
    /// The start of, or the answer to, the closing handshake, with code and reason if there are
    /// any. Nothing comes after it.
    Close(Option<(CloseCode, String)>),
    /// Nothing more has come, and all that came before were whole messages: the reader holds
    /// nothing and may be dropped, until the stream is readable again.
    Idle,
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer broke the protocol or passed a limit. The connection must be closed with this
    /// code.
    #[error("{reason} (close code {code})")]
    Violation {
        /// The code for the close frame.
        code: CloseCode,
        /// What the peer did, for the close frame and the log.
        reason: &'static str,
    },
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The stream ended, or a close frame came before.
    #[error("the connection ended{}", if *.mid_message { " inside a message" } else { "" })]
    Eof {
        /// Whether a message or frame had begun.
        mid_message: bool,
    },
}

#[derive(Debug)]
enum Partial {
    Text(PartialText),
    Binary(Vec<u8>),
    Deflated(Opcode, Vec<u8>),
}

/// What is needed for messages that are compressed.
struct Inflation {
    deflated: Arc<Deflated>,
    history: History,
    /// What a message may be inflated to.
    bytes_max: usize,
    /// How many messages have been inflated.
    count: u64,
}

#[derive(Clone, Copy)]
enum End {
    Violation(Violation),
    Closed,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Makes a reader for a stream whose next byte is the first one of a frame.
    ///
    /// To get the stream back afterwards, pass `&mut stream`.
    pub fn new(stream: R, limits: ReadLimits) -> Self {
        Self::with(Gate::new(stream, limits, None), None)
    }

    /// As [`new`](Self::new), for a connection on which permessage-deflate has been agreed on:
    /// messages that are compressed come out as they were before.
    ///
    /// Where clients may refer to earlier messages ([`Deflate::client_context_takeover`]) the reader
    /// remembers those, and must not be dropped after [`Incoming::Idle`].
    pub fn inflating(stream: R, limits: ReadLimits, deflate: &Deflate) -> Self {
        let deflated = Arc::<Deflated>::default();
        let gate = Gate::new(stream, limits, Some(Arc::clone(&deflated)));
        let history_bytes = if deflate.client_context_takeover() { deflate.client_window_bytes() } else { 0 };
        let inflation =
            Inflation { deflated, history: History::of(history_bytes), bytes_max: limits.message_bytes_max, count: 0 };
        Self::with(gate, Some(inflation))
    }

    fn with(gate: Gate<R>, inflation: Option<Inflation>) -> Self {
        // The half that writes is not used: outgoing frames are finished bytes.
        let (mut frames, _) = after_handshake_split(gate, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        // The gate has the limit: this one counts single frames, and leaves out its last byte.
        frames.set_max_message_size(usize::MAX);
        Self { frames, inflation, message: None, count: 0, end: None, under_way: false }
    }

    /// Reads the next message or control frame, or says that none is there.
    ///
    /// Waits while a message has come in part.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. After a violation or a close frame each further call fails.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a future that is dropped while it waits takes bytes with it, and each
    /// further call fails. Keep one future until it is ready. Dropping the reader after
    /// [`Incoming::Idle`] loses nothing.
    pub async fn next(&mut self) -> Result<Incoming, ReadError> {
        match self.end {
            Some(End::Violation(Violation { code, reason })) => {
                return Err(ReadError::Violation { code, reason });
            }
            Some(End::Closed) => return Err(ReadError::Eof { mid_message: false }),
            None => {}
        }
        if self.under_way {
            let message = "a call of next was dropped while it waited";
            return Err(io::Error::other(message).into());
        }
        self.under_way = true;
        let result = self.read().await;
        self.under_way = false;
        match result {
            Err(ReadError::Violation { code, reason }) => {
                self.end = Some(End::Violation(Violation { code, reason }));
            }
            Ok(Incoming::Close(_)) => self.end = Some(End::Closed),
            _ => {}
        }
        result
    }

    /// Reads the next message or control frame, and waits until one is there. For streams whose
    /// readiness cannot be awaited otherwise; it never says [`Incoming::Idle`].
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    ///
    /// As [`next`](Self::next).
    pub async fn recv(&mut self) -> Result<Incoming, ReadError> {
        loop {
            match self.next().await {
                Ok(Incoming::Idle) => {
                    // The stream has just been polled by this task and will wake it.
                    let mut has_waited = false;
                    poll_fn(|_| if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending })
                        .await;
                }
                other => return other,
            }
        }
    }

    /// How many frames have come: control frames, messages, and each of their fragments.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.count
    }

    /// How many compressed messages have come.
    #[must_use]
    pub fn inflated(&self) -> u64 {
        self.inflation.as_ref().map_or(0, |inflation| inflation.count)
    }

    async fn read(&mut self) -> Result<Incoming, ReadError> {
        // With automatic answers switched off there is never anything to send.
        let mut send = |_| ready(Ok::<(), Infallible>(()));
        loop {
            let frame = match self.frames.read_frame(&mut send).await {
                Ok(frame) => frame,
                Err(error) => return self.explain(error),
            };
            self.count += 1;
            if self.count.is_multiple_of(TURN_FRAMES) && self.message.is_some() {
                yield_now().await;
            }
            let payload = &*frame.payload;
            match (frame.opcode, frame.fin) {
                (OpCode::Text, true) => {
                    let text = simdutf8::basic::from_utf8(payload).map_err(|_| InvalidUtf8)?;
                    return Ok(Incoming::Text(text.into()));
                }
                (OpCode::Binary, true) => {
                    return Ok(Incoming::Binary(Bytes::copy_from_slice(payload)));
                }
                (OpCode::Text, false) => {
                    let mut text = PartialText::default();
                    text.push(payload)?;
                    self.message = Some(Partial::Text(text));
                }
                (OpCode::Binary, false) => {
                    self.message = Some(Partial::Binary(payload.to_vec()));
                }
                (OpCode::Continuation, fin) => {
                    match &mut self.message {
                        Some(Partial::Text(text)) => text.push(payload)?,
                        Some(Partial::Binary(bytes) | Partial::Deflated(_, bytes)) => bytes.extend_from_slice(payload),
                        // The gate lets no continuation pass without a message, but for the first
                        // frame of one that is compressed.
                        None => {
                            let Some(inflation) = &mut self.inflation else { continue };
                            let kind = inflation.deflated.pop().unwrap_or(Opcode::Binary);
                            if fin {
                                return Ok(inflation.inflate(kind, payload)?);
                            }
                            self.message = Some(Partial::Deflated(kind, payload.to_vec()));
                        }
                    }
                    if fin && let Some(message) = self.message.take() {
                        return match (message, &mut self.inflation) {
                            (Partial::Text(text), _) => Ok(Incoming::Text(text.finish()?)),
                            (Partial::Deflated(kind, bytes), Some(inflation)) => Ok(inflation.inflate(kind, &bytes)?),
                            (Partial::Binary(bytes) | Partial::Deflated(_, bytes), _) => {
                                Ok(Incoming::Binary(bytes.into_boxed_slice().into()))
                            }
                        };
                    }
                }
                (OpCode::Ping, _) => return Ok(Incoming::Ping(Bytes::copy_from_slice(payload))),
                (OpCode::Pong, _) => return Ok(Incoming::Pong(Bytes::copy_from_slice(payload))),
                (OpCode::Close, _) => return Ok(Incoming::Close(parse_close(payload)?)),
            }
        }
    }

    /// Turns what the frame reader says into what it means.
    fn explain(&self, error: WebSocketError) -> Result<Incoming, ReadError> {
        match error {
            WebSocketError::IoError(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Incoming::Idle),
                io::ErrorKind::UnexpectedEof => Err(ReadError::Eof { mid_message: true }),
                _ => match error.downcast::<Violation>() {
                    Ok(violation) => Err(violation.into()),
                    Err(error) => Err(error.into()),
                },
            },
            WebSocketError::UnexpectedEOF => Err(ReadError::Eof { mid_message: false }),
            WebSocketError::InvalidUTF8 => Err(InvalidUtf8.into()),
            // Whatever else it might object to has been refused by the gate before.
            _ => Err(Violation { code: CloseCode::PROTOCOL, reason: "malformed frame" }.into()),
        }
    }
}

impl Inflation {
    fn inflate(&mut self, kind: Opcode, deflated: &[u8]) -> Result<Incoming, Violation> {
        self.count += 1;
        let message = inflate(deflated, &mut self.history, self.bytes_max, |payload| match kind {
            Opcode::Text => simdutf8::basic::from_utf8(payload).map(|text| Incoming::Text(text.into())),
            _ => Ok(Incoming::Binary(Bytes::copy_from_slice(payload))),
        });
        match message {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) => Err(NOT_UTF8),
            Err(InflateError::TooLong) => Err(MESSAGE_TOO_BIG),
            Err(InflateError::Malformed) => Err(MALFORMED_DEFLATE),
        }
    }
}

/// Reads the payload of a close frame.
fn parse_close(payload: &[u8]) -> Result<Option<(CloseCode, String)>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    // RFC 6455, 5.5.1: if there is a body, its first two bytes MUST be a status code.
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(Violation { code: CloseCode::PROTOCOL, reason: "close frame with half a code" });
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::is_allowed_on_wire(code) {
        return Err(Violation { code: CloseCode::PROTOCOL, reason: "close code that must not be sent" });
    }
    // RFC 6455, 5.5.1: the reason is UTF-8.
    let reason = simdutf8::basic::from_utf8(reason)
        .map_err(|_| Violation { code: CloseCode::INVALID_DATA, reason: "close reason is not UTF-8" })?;
    Ok(Some((CloseCode(code), reason.to_owned())))
}

impl From<Violation> for ReadError {
    fn from(Violation { code, reason }: Violation) -> Self {
        Self::Violation { code, reason }
    }
}

impl From<InvalidUtf8> for ReadError {
    fn from(InvalidUtf8: InvalidUtf8) -> Self {
        NOT_UTF8.into()
    }
}

/// RFC 6455, 8.1.
const NOT_UTF8: Violation = Violation { code: CloseCode::INVALID_DATA, reason: "text is not UTF-8" };

/// No standard says with which code a message fails that cannot be inflated: it is data that is not
/// consistent with its type (RFC 6455, 7.4.1).
const MALFORMED_DEFLATE: Violation =
    Violation { code: CloseCode::INVALID_DATA, reason: "compressed message cannot be inflated" };
