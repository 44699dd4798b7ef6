//! A value as it was written, in a file or a variable, and its way into a field.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::error::Fault;
use super::schema::Field;
use crate::limits::NetworkError;

const RATE: &str = "a rate such as 100/s burst 1000, or off";

/// A value as it was written.
pub(crate) enum Given {
    Whole(i128),
    Text(String),
    Flag(bool),
    List(Vec<At<Given>>),
    /// A type that no setting has, in words.
    Other(String),
}

/// Something, and the byte of the source where it begins.
pub(crate) struct At<T> {
    pub(crate) start: usize,
    pub(crate) it: T,
}

impl Given {
    pub(crate) fn from_toml(value: &Spanned<DeValue<'_>>) -> At<Given> {
        let it = match value.get_ref() {
            // TOML, Integer: underscores are gone here; 64 bits have to be handled, so more are out
            // of range rather than no number.
            DeValue::Integer(whole) => match i128::from_str_radix(whole.as_str(), whole.radix()) {
                Ok(whole) => Given::Whole(whole),
                Err(_) => Given::Other(whole.to_string()),
            },
            DeValue::String(text) => Given::Text(text.to_string()),
            DeValue::Array(items) => Given::List(items.iter().map(Given::from_toml).collect()),
            DeValue::Float(float) => Given::Other(float.to_string()),
            DeValue::Boolean(flag) => Given::Flag(*flag),
            DeValue::Datetime(date) => Given::Other(date.to_string()),
            DeValue::Table(_) => Given::Other("a table".to_owned()),
        };
        At { start: value.span().start, it }
    }

    /// Puts the value into `target`, or says what the field takes instead.
    ///
    /// A fault in an item of a list comes with where that item begins; a list keeps its old value
    /// unless all of its items are right.
    pub(crate) fn put<T>(self, field: &Field<T>, target: &mut T) -> Result<(), Vec<(Option<usize>, Fault)>> {
        let one = |fault| vec![(None, fault)];
        match (field, self) {
            (Field::Count { range, of }, Given::Whole(whole)) => {
                *of(target) = within(whole, range).map_err(one)?;
                Ok(())
            }
            (Field::Millis { range, of }, Given::Whole(whole)) => {
                *of(target) = within(whole, range).map_err(one)?;
                Ok(())
            }
            (Field::Flag { of }, Given::Flag(flag)) => {
                *of(target) = flag;
                Ok(())
            }
            (Field::Text { put }, Given::Text(text)) => put(target, &text).map_err(one),
            (Field::List { least, check, of }, Given::List(items)) => {
                if items.len() < *least {
                    return Err(one(Fault::value("a list that is not empty", "[]")));
                }
                *of(target) = each(items, |text| check(&text).map(|()| text))?;
                Ok(())
            }
            (Field::Networks { of }, Given::List(items)) => {
                *of(target) = each(items, |text| {
                    text.parse().map_err(|error: NetworkError| {
                        Fault::value("a network such as 10.0.0.0/8 or 2001:db8::1", format!("{text:?}: {error}"))
                    })
                })?;
                Ok(())
            }
            (Field::Rate { of }, Given::Text(text)) => {
                *of(target) = match text.as_str() {
                    "off" => None,
                    rate => Some(rate.parse().map_err(|_| one(Fault::value(RATE, format!("{rate:?}"))))?),
                };
                Ok(())
            }
            (Field::Secrets { of }, given) => {
                *of(target) = secrets(given).map_err(one)?;
                Ok(())
            }
            (field, other) => Err(one(Fault::value(field.expected(), other.describe()))),
        }
    }

    /// The value in words, for a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Given::Whole(whole) => whole.to_string(),
            Given::Text(text) => format!("{text:?}"),
            Given::Flag(flag) => flag.to_string(),
            Given::List(_) => "a list".to_owned(),
            Given::Other(what) => what.clone(),
        }
    }
}

impl<T> Field<T> {
    /// What the field takes, in words.
    pub(crate) fn expected(&self) -> String {
        match self {
            Field::Count { range, .. } => expected_whole(range),
            Field::Millis { range, .. } => expected_whole(range),
            Field::Flag { .. } => "true or false".to_owned(),
            Field::Text { .. } => "a string".to_owned(),
            Field::List { .. } | Field::Networks { .. } | Field::Secrets { .. } => "a list of strings".to_owned(),
            Field::Rate { .. } => RATE.to_owned(),
        }
    }
}

/// The items of a list, or what is wrong with each that is none.
fn each<T>(
    items: Vec<At<Given>>,
    read: impl Fn(String) -> Result<T, Fault>,
) -> Result<Vec<T>, Vec<(Option<usize>, Fault)>> {
    let mut faults = Vec::new();
    let mut right = Vec::new();
    for At { start, it } in items {
        let item = match it {
            Given::Text(text) => read(text),
            other => Err(Fault::value("a string", other.describe())),
        };
        match item {
            Ok(item) => right.push(item),
            Err(fault) => faults.push((Some(start), fault)),
        }
    }
    if faults.is_empty() { Ok(right) } else { Err(faults) }
}

/// A list of secrets. What is wrong with one is said without repeating it.
fn secrets(given: Given) -> Result<Vec<String>, Fault> {
    const SECRET_BYTES_MIN: usize = 32;
    let Given::List(items) = given else { return Err(Fault::value("a list of secrets", "something else")) };
    let secret = |At { it, .. }: At<Given>| match it {
        Given::Text(text) if text.len() >= SECRET_BYTES_MIN => Ok(text),
        Given::Text(text) => {
            let found = format!("one of {} bytes", text.len());
            Err(Fault::value(format!("secrets of at least {SECRET_BYTES_MIN} bytes"), found))
        }
        _ => Err(Fault::value("secrets that are strings", "something else")),
    };
    items.into_iter().map(secret).collect()
}

fn within<N>(whole: i128, range: &RangeInclusive<N>) -> Result<N, Fault>
where
    N: Copy + PartialOrd + TryFrom<i128> + std::fmt::Display,
{
    match N::try_from(whole) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Fault::value(expected_whole(range), whole.to_string())),
    }
}

fn expected_whole(range: &RangeInclusive<impl std::fmt::Display>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}
