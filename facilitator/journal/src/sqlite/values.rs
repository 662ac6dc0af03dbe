//! Values in fewer bytes: compressed with a dictionary of typical rows and events.
//!
//! A value is either a text, as earlier versions wrote all of them and as short ones still are, or bytes: a frame of Zstandard
//! without its first four bytes, which are always the same, or no bytes at all for `null`. The frame names its dictionary, so
//! that a later dictionary can be added beside the first one. `dictionary/README.md` says how a dictionary is made.
//!
//! What is read may be damaged. Its length is known before it is unpacked, and limited.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::LazyLock;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe;

use super::super::JournalError;

/// Dictionary 1. Never edit or remove: values are compressed with it.
const DICTIONARY: &[u8] = include_bytes!("dictionary/1.zstd-dict");
/// The number of the dictionary, which stands in it.
const NUMBER: u32 = 1;
/// Level 3 takes twice the time and saves one byte of fifty.
const LEVEL: i32 = 1;
/// What every frame of Zstandard begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Shorter texts don't get shorter.
const SHORTEST: usize = 16;
/// Longer texts stay as they are. No more memory than this is used for a value, whatever its bytes say.
const LONGEST: usize = 16 << 20;
const NULL: &str = "null";

static COMPRESSION: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECOMPRESSION: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    // Each is some 100 KiB, which a thread uses for all of its values.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_prepared_dictionary(&COMPRESSION).ok());
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> =
        RefCell::new(Decompressor::with_prepared_dictionary(&DECOMPRESSION).ok());
}

/// A value as SQLite has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'t> {
    Text(&'t str),
    Bytes(Vec<u8>),
}

impl ToSql for Stored<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The shortest form of a value.
pub(super) fn encode(text: &str) -> Stored<'_> {
    if text == NULL {
        return Stored::Bytes(Vec::new());
    }
    if text.len() < SHORTEST || text.len() > LONGEST {
        return Stored::Text(text);
    }
    // Without a compressor, for which there was no memory, the text is as good.
    let frame = COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress(text.as_bytes()).ok());
    match frame.as_deref().and_then(|frame| frame.strip_prefix(&MAGIC)) {
        Some(bytes) if bytes.len() < text.len() => Stored::Bytes(bytes.to_vec()),
        Some(_) | None => Stored::Text(text),
    }
}

/// The text of a value.
///
/// # Errors
/// When it is neither a text nor bytes from which one can be made.
pub(super) fn decode(value: ValueRef<'_>) -> Result<Cow<'_, str>, JournalError> {
    match value {
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(Cow::Borrowed)
            .map_err(|error| damaged(&error)),
        ValueRef::Blob([]) => Ok(Cow::Borrowed(NULL)),
        ValueRef::Blob(bytes) => unpack(bytes).map(Cow::Owned),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Err(damaged(&"it is a number or NULL")),
    }
}

fn unpack(bytes: &[u8]) -> Result<String, JournalError> {
    let mut frame = Vec::with_capacity(MAGIC.len() + bytes.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(bytes);
    let length = match zstd_safe::get_frame_content_size(&frame) {
        Ok(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        Ok(None) | Err(_) => return Err(damaged(&"it names no length")),
    };
    if length > LONGEST {
        return Err(damaged(&format!("it names a length of {length} bytes")));
    }
    match zstd_safe::get_dict_id_from_frame(&frame) {
        Some(number) if number.get() == NUMBER => {}
        Some(number) => {
            return Err(JournalError(format!(
                "a value is compressed with dictionary {number}, which this version of switchyard does not have: use the version \
                 that wrote it or a newer one"
            )));
        }
        None => return Err(damaged(&"it names no dictionary")),
    }
    let unpacked = DECOMPRESSOR.with_borrow_mut(|decompressor| match decompressor {
        Some(decompressor) => decompressor.decompress(&frame, length),
        None => Err(std::io::ErrorKind::OutOfMemory.into()),
    });
    let text = unpacked.map_err(|error| damaged(&error))?;
    if text.len() != length {
        return Err(damaged(&"it has another length than it names"));
    }
    String::from_utf8(text).map_err(|error| damaged(&error))
}

fn damaged(why: &dyn std::fmt::Display) -> JournalError {
    JournalError(format!(
        "a value can't be read ({why}): restore a backup with `switchyard journal restore`, or get help before you continue"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(text: &str) -> Vec<u8> {
        match encode(text) {
            Stored::Bytes(bytes) => bytes,
            Stored::Text(_) => panic!("{text:?} is not compressed"),
        }
    }

    fn error_of(bytes: &[u8]) -> String {
        decode(ValueRef::Blob(bytes)).unwrap_err().0
    }

    #[test]
    fn the_dictionary_has_the_number_that_frames_name() {
        assert_eq!(
            zstd_safe::get_dict_id_from_dict(DICTIONARY).map(std::num::NonZeroU32::get),
            Some(NUMBER)
        );
    }

    #[test]
    fn what_is_on_disks_stays_readable() {
        let row = r#"{"Finished":{"settlement":3,"at_ms":1790000000000}}"#;
        let bytes = hex::decode("210133b50000a3c0012d2d5555558e0103fc0018de8ab88184a5180d").unwrap();
        assert_eq!(decode(ValueRef::Blob(&bytes)).unwrap(), row);
    }

    #[test]
    fn short_values_stay_texts_and_null_has_no_bytes() {
        for text in ["", "0", "17", "\"0x\""] {
            assert_eq!(encode(text), Stored::Text(text));
        }
        assert!(bytes_of("null").is_empty());
        assert_eq!(decode(ValueRef::Blob(&[])).unwrap(), "null");
        assert_eq!(decode(ValueRef::Text(b"{\"a\":1}")).unwrap(), "{\"a\":1}");
    }

    #[test]
    fn a_value_of_any_length_comes_back() {
        for length in [1_000, 100_000, LONGEST] {
            let text = "ab\u{e9}".repeat(length / 4);
            assert_eq!(decode(ValueRef::Blob(&bytes_of(&text))).unwrap(), text);
        }
        let longer = "a".repeat(LONGEST + 1);
        assert_eq!(encode(&longer), Stored::Text(&longer));
    }

    #[test]
    fn damaged_values_are_errors_and_need_little_memory() {
        let bytes = bytes_of(&"{\"settlement\":1}".repeat(20));
        for end in 0..bytes.len() {
            assert!(
                end == 0 || decode(ValueRef::Blob(&bytes[..end])).is_err(),
                "{end}"
            );
        }
        // A frame of many gigabytes, of a length that is not named, of another dictionary, and of none.
        let mut compressor = Compressor::new(1).unwrap();
        let without = compressor.compress(&[b'a'; 200]).unwrap();
        let huge = [&[0xe0 | 1][..], &[NUMBER as u8], &[0xff; 7], &[0x7f], &bytes[3..]].concat();
        let other = [&bytes[..1], &[NUMBER as u8 + 1], &bytes[2..]].concat();
        assert!(
            error_of(&huge).contains("names a length of"),
            "{}",
            error_of(&huge)
        );
        assert!(error_of(&other).contains("dictionary 2"), "{}", error_of(&other));
        assert!(error_of(&without[4..]).contains("no dictionary"));
        assert!(decode(ValueRef::Text(&[0xff])).is_err());
        for value in [ValueRef::Null, ValueRef::Integer(1), ValueRef::Real(0.5)] {
            assert!(decode(value).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in ".{0,300}") {
            let read = match encode(&text) {
                Stored::Text(same) => decode(ValueRef::Text(same.as_bytes())).map(Cow::into_owned),
                Stored::Bytes(bytes) => decode(ValueRef::Blob(&bytes)).map(Cow::into_owned),
            };
            prop_assert_eq!(read, Ok(text));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let _ = decode(ValueRef::Blob(&bytes));
        }
    }
}
