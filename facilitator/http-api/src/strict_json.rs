//! Strict JSON: refuses text that two parsers could read differently.
//!
//! No object has a member twice, nesting is limited to [`MAX_DEPTH`] and the number of values to [`MAX_VALUES`] (a body of
//! empty arrays would otherwise need thirty times its size in memory), the text is UTF-8, and nothing follows the value.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deepest nesting of objects and arrays.
pub(super) const MAX_DEPTH: usize = 64;
/// Most values in one body; names of members do not count.
pub(super) const MAX_VALUES: usize = 65_536;

/// Parses one value. `Err`: why the bytes are refused.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let remaining = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let strict = Strict {
        depth: MAX_DEPTH,
        remaining: &remaining,
    };
    let value = strict
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'b> {
    /// Containers that may still be opened.
    depth: usize,
    /// Values that may still be read.
    remaining: &'b Cell<usize>,
}

impl Strict<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.remaining.get().checked_sub(1) {
            Some(remaining) => self.remaining.set(remaining),
            None => return Err(de::Error::custom(format_args!("more than {MAX_VALUES} values"))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom("an object has the same member twice"));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t12_text_that_parsers_read_differently_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        let too_many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        for (bytes, why) in [
            (nested(MAX_DEPTH + 1).as_bytes(), "nested deeper than 64"),
            (nested(1_000_000).as_bytes(), "nested deeper than 64"),
            (br#"{"a":{"b":1,"c":[],"b":1}}"#, "same member twice"),
            (br#"{"b":1,"\u0062":1}"#, "same member twice"),
            (b"{} {}", "trailing characters"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (b"\"\\ud800\"", "hex escape"),
            (b"", "EOF"),
            (b"NaN", "expected"),
            (b"\xef\xbb\xbf{}", "expected value"),
            (too_many.as_bytes(), "more than 65536 values"),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    proptest! {
        #[test]
        fn t12_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(parse(&bytes));
        }

        #[test]
        fn accepted_text_has_the_same_value_for_the_usual_parser(text in "[\\[\\]{}\",:0-9a-f.eE+\\-tru nl\\\\]{0,60}") {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
            }
        }
    }
}
