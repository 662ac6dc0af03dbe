//! One value of the document: reads it with a type and a range, or records an error that says what to write instead.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;
use toml::de::DeValue;

use super::reader::{Reader, join};
use super::substitute::{has_variables, substitute};

/// One value of the document.
pub(super) struct Node<'n, 'd> {
    pub(super) reader: &'n Reader<'d>,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) value: &'n DeValue<'n>,
}

impl<'d> Node<'_, 'd> {
    /// Records an error. Always `None`.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Option<T> {
        self.reader.fail(self.line, &self.path, message);
        None
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.fail(format!("must be {wanted}, not {}", type_name(self.value)))
    }

    /// A string with its variables replaced.
    pub(super) fn text(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => match substitute(text, self.reader.environment) {
                Ok(text) => Some(text),
                Err(message) => self.fail(message),
            },
            _ => self.wrong_type("a string in quotes"),
        }
    }

    /// The string as written, for error messages. It does not contain values of the environment.
    pub(super) fn as_written(&self) -> &str {
        match self.value {
            DeValue::String(text) => text,
            _ => "",
        }
    }

    /// A string that `parse` accepts.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>, wanted: &str) -> Option<T> {
        let text = self.text()?;
        match parse(&text) {
            Some(value) => Some(value),
            None => self.fail(format!("{:?} is not {wanted}", self.as_written())),
        }
    }

    /// Like [`Node::parsed`], where people paste secrets by mistake: the error does not repeat the value.
    pub(super) fn parsed_unseen<T>(&self, parse: impl FnOnce(&str) -> Option<T>, wanted: &str) -> Option<T> {
        let text = self.text()?;
        match parse(&text) {
            Some(value) => Some(value),
            None => self.fail(format!("is not {wanted}")),
        }
    }

    /// An integer, also from a string made of variables.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.value {
            DeValue::Integer(digits) => {
                let digits_text = digits.as_str().replace('_', "");
                u64::from_str_radix(digits_text.trim_start_matches('+'), digits.radix()).ok()
            }
            DeValue::String(text) if has_variables(text) => self.text()?.trim().parse().ok(),
            _ => return self.wrong_type("a whole number"),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.fail(format!("must be from {} to {}", range.start(), range.end())),
        }
    }

    /// A boolean, also from a string made of variables.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if has_variables(text) => match self.text()?.trim() {
                "true" => Some(true),
                "false" => Some(false),
                _ => self.fail(format!("{text:?} must give true or false")),
            },
            _ => self.wrong_type("true or false"),
        }
    }

    /// Reads every element. `None` when one failed, after all were tried.
    pub(super) fn list<T>(&self, read: impl Fn(&Node<'_, 'd>) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(items) = self.value else {
            return self.wrong_type("a list in [ ]");
        };
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(n, item)| {
                read(&Node {
                    reader: self.reader,
                    path: format!("{}[{n}]", self.path),
                    line: self.reader.line(item),
                    value: item.get_ref(),
                })
            })
            .collect();
        read.into_iter().collect()
    }

    /// Whether it is a table, as `{ … }`.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A list, or a single value instead of a list of one.
    pub(super) fn list_or_one<T>(&self, read: impl Fn(&Node<'_, 'd>) -> Option<T>) -> Option<Vec<T>> {
        match self.value {
            DeValue::Array(_) => self.list(read),
            _ => read(self).map(|one| vec![one]),
        }
    }

    /// Reads every value of a table with its name. `None` when one failed, after all were tried.
    pub(super) fn table<T>(
        &self,
        read: impl Fn(&str, &Node<'_, 'd>) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let DeValue::Table(table) = self.value else {
            return self.wrong_type("a table in { }");
        };
        let read: Vec<Option<(String, T)>> = table
            .iter()
            .map(|(name, value)| {
                let node = Node {
                    reader: self.reader,
                    path: join(&self.path, name.get_ref()),
                    line: self.reader.line(value),
                    value: value.get_ref(),
                };
                read(name.get_ref(), &node).map(|read| (name.get_ref().to_string(), read))
            })
            .collect();
        read.into_iter().collect()
    }

    /// Any value as JSON, with variables replaced.
    pub(super) fn json(&self) -> Option<Value> {
        match self.value {
            DeValue::String(_) => self.text().map(Value::String),
            DeValue::Integer(digits) => {
                let digits_text = digits.as_str().replace('_', "");
                match i64::from_str_radix(digits_text.trim_start_matches('+'), digits.radix()) {
                    Ok(number) => Some(number.into()),
                    Err(_) => self.fail("is too large; write it as a string in quotes"),
                }
            }
            DeValue::Float(digits) => {
                let number = digits
                    .as_str()
                    .replace('_', "")
                    .parse()
                    .ok()
                    .and_then(serde_json::Number::from_f64);
                match number {
                    Some(number) => Some(Value::Number(number)),
                    None => self.fail("is not a finite number"),
                }
            }
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Datetime(_) => self.fail("dates have no JSON form; write a string in quotes"),
            DeValue::Array(_) => self.list(|node| node.json()).map(Value::Array),
            DeValue::Table(_) => {
                let members = self.table(|_, node| node.json())?;
                Some(Value::Object(members.into_iter().collect()))
            }
        }
    }

    /// A table as a JSON object.
    pub(super) fn json_object(&self) -> Option<Value> {
        match self.value {
            DeValue::Table(_) => self.json(),
            _ => self.wrong_type("a table in { }"),
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
