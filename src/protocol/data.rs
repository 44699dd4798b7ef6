//! Payloads: one checked value in the encoding it arrived in.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Encoding;
use super::json::Json;
use super::msgpack::MsgPack;
use super::scan::{Malformed, Scanned, whole};
use super::transcode;

/// A payload: one value that can be carried in both encodings, kept in the one it arrived in.
///
/// Cheap to clone. Whoever holds one knows that it was checked in full; it can be copied between
/// envelopes as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    encoding: Encoding,
    bytes: Bytes,
}

impl Data {
    /// Checks JSON text; space around the value is left out.
    ///
    /// # Errors
    ///
    /// [`DataError`] if it is not one JSON value, or one that MessagePack or a client could not take.
    pub fn json(text: impl Into<Bytes>) -> Result<Data, DataError> {
        let text = text.into();
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(DataError::Uncarriable { fault: Fault::Utf8, at: error.valid_up_to() });
        }
        let value = text.slice_ref(checked(whole::<Json<'_>>(&text))?);
        Ok(Data { encoding: Encoding::Json, bytes: value })
    }

    /// Checks MessagePack bytes.
    ///
    /// # Errors
    ///
    /// [`DataError`] if they are not one MessagePack value, or one that JSON or a client could not take.
    pub fn msgpack(bytes: impl Into<Bytes>) -> Result<Data, DataError> {
        let bytes = bytes.into();
        checked(whole::<MsgPack<'_>>(&bytes))?;
        Ok(Data { encoding: Encoding::MsgPack, bytes })
    }

    /// Writes a value as JSON and checks the outcome.
    ///
    /// Floats that JSON does not have become `null`, as everywhere with `serde_json`.
    ///
    /// # Errors
    ///
    /// [`DataError::Serialize`] if the value cannot be written, else what [`Data::json`] says.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Data, DataError> {
        Data::json(serde_json::to_vec(value).map_err(DataError::Serialize)?)
    }

    /// A slice of a decoded command, checked there.
    pub(crate) fn already_checked(encoding: Encoding, bytes: Bytes) -> Data {
        Data { encoding, bytes }
    }

    /// The encoding it arrived in.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The value in [`Data::encoding`], exactly as it arrived.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Appends the value: copied in its own encoding, transcoded in the other.
    pub fn write_to(&self, encoding: Encoding, out: &mut Vec<u8>) {
        if encoding == self.encoding {
            out.extend_from_slice(&self.bytes);
            return;
        }
        let start = out.len();
        let done = match encoding {
            Encoding::MsgPack => transcode::json_to_msgpack(&self.bytes, out),
            Encoding::Json => transcode::msgpack_to_json(&self.bytes, out),
        };
        debug_assert!(done.is_ok(), "checked data is well-formed");
        if done.is_err() {
            // Out of reach. Should a check ever miss something, the envelope around stays whole.
            out.truncate(start);
            out.extend_from_slice(match encoding {
                Encoding::MsgPack => &[0xc0],
                Encoding::Json => b"null",
            });
        }
    }

    /// Reads it as a type of the caller's.
    ///
    /// # Errors
    ///
    /// [`TypeError`] if the value has another shape, or nests deeper than `serde_json` follows (127
    /// levels).
    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        match self.encoding {
            Encoding::Json => serde_json::from_slice(&self.bytes).map_err(TypeError::Json),
            Encoding::MsgPack => rmp_serde::from_slice(&self.bytes).map_err(TypeError::MsgPack),
        }
    }
}

/// Why a value is no [`Data`].
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not exactly one value of its encoding.
    #[error("not one well-formed value, at byte {at}")]
    Malformed {
        /// Where it stops being one.
        at: usize,
    },
    /// A well-formed value that cannot be carried in both encodings.
    #[error("{fault} at byte {at}")]
    Uncarriable {
        /// What is wrong with it.
        fault: Fault,
        /// Where the first such place is.
        at: usize,
    },
    /// The value given could not be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Serialize(#[source] serde_json::Error),
}

/// What makes a well-formed value one that cannot be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// More than 128 maps and lists inside each other, in either encoding.
    #[error("more than 128 levels")]
    TooDeep,
    /// An integer beyond 64 bits, or a float that is not finite.
    #[error("number out of range")]
    Number,
    /// Half a surrogate pair in a JSON string.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A MessagePack extension type.
    #[error("extension type")]
    Extension,
    /// A map's key that is not a string.
    #[error("key that is not a string")]
    Key,
    /// A string that is not UTF-8.
    #[error("string that is not UTF-8")]
    Utf8,
}

/// A payload does not have the shape that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TypeError {
    /// Arrived as JSON.
    #[error(transparent)]
    Json(serde_json::Error),
    /// Arrived as MessagePack.
    #[error(transparent)]
    MsgPack(rmp_serde::decode::Error),
}

fn checked(scanned: Result<Scanned<'_>, Malformed>) -> Result<&[u8], DataError> {
    let Scanned { bytes, flaw } = scanned.map_err(|Malformed { at }| DataError::Malformed { at })?;
    match flaw {
        Some(flaw) => Err(DataError::Uncarriable { fault: flaw.fault, at: flaw.at }),
        None => Ok(bytes),
    }
}
