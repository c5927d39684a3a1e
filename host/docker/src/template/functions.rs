//! The functions of templates: Go's own, and Docker's.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::duration;
use super::error::FunctionError;
use super::escape;
use super::print::{print, printf, println, shown};

/// The most blanks that `pad` puts on a side.
const MAX_PAD: u64 = 1 << 16;

/// A function by its name in templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Index,
    Slice,
    Len,
    Print,
    Println,
    Printf,
    Json,
    Join,
    Split,
    Lower,
    Upper,
    Title,
    Truncate,
    Pad,
    Html,
    Js,
    UrlQuery,
}

impl Function {
    const ALL: [(&'static str, Self); 26] = [
        ("and", Self::And),
        ("or", Self::Or),
        ("not", Self::Not),
        ("eq", Self::Eq),
        ("ne", Self::Ne),
        ("lt", Self::Lt),
        ("le", Self::Le),
        ("gt", Self::Gt),
        ("ge", Self::Ge),
        ("index", Self::Index),
        ("slice", Self::Slice),
        ("len", Self::Len),
        ("print", Self::Print),
        ("println", Self::Println),
        ("printf", Self::Printf),
        ("json", Self::Json),
        ("join", Self::Join),
        ("split", Self::Split),
        ("lower", Self::Lower),
        ("upper", Self::Upper),
        ("title", Self::Title),
        ("truncate", Self::Truncate),
        ("pad", Self::Pad),
        ("html", Self::Html),
        ("js", Self::Js),
        ("urlquery", Self::UrlQuery),
    ];

    /// The function of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// Whether the function leaves a column's name as it is.
    pub fn spares_headers(self) -> bool {
        use Function::{Join, Json, Lower, Split, Title, Truncate, Upper};
        matches!(self, Json | Join | Split | Lower | Upper | Title | Truncate)
    }

    /// The function's result. The evaluator computes [`Function::And`] and [`Function::Or`] itself, because they stop
    /// early.
    pub fn call(self, arguments: &[Value]) -> Result<Value, FunctionError> {
        Ok(match (self, arguments) {
            (Self::Not, [value]) => (!truth(value)).into(),
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => {
                others.iter().any(|other| equal(first, other)).into()
            }
            (Self::Ne, [a, b]) => (!equal(a, b)).into(),
            (Self::Lt, [a, b]) => (order(a, b)? == Ordering::Less).into(),
            (Self::Le, [a, b]) => (order(a, b)? != Ordering::Greater).into(),
            (Self::Gt, [a, b]) => (order(a, b)? == Ordering::Greater).into(),
            (Self::Ge, [a, b]) => (order(a, b)? != Ordering::Less).into(),
            (Self::Index, [value, path @ ..]) => {
                path.iter().try_fold(value.clone(), |value, key| index(&value, key))?
            }
            (Self::Slice, [value, bounds @ ..]) if bounds.len() <= 2 => slice(value, bounds)?,
            (Self::Len, [value]) => len(value)?.into(),
            (Self::Print, values) => print(values).into(),
            (Self::Println, values) => println(values).into(),
            (Self::Printf, [Value::String(format), values @ ..]) => printf(format, values).into(),
            (Self::Json, [value]) => crate::json::harmless(&json(value).to_string()).into(),
            (Self::Join, [list, Value::String(separator)]) => {
                let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().map(shown).collect::<Vec<_>>().join(separator).into()
            }
            (Self::Split, [text, Value::String(separator)]) => split(&shown(text), separator),
            (Self::Lower, [value]) => shown(value).to_lowercase().into(),
            (Self::Upper, [value]) => shown(value).to_uppercase().into(),
            (Self::Title, [value]) => title(&shown(value)).into(),
            (Self::Truncate, [value, length]) => {
                let length = usize::try_from(integer(length)?).unwrap_or(usize::MAX);
                shown(value).chars().take(length).collect::<String>().into()
            }
            (Self::Pad, [value, before, after]) => {
                let (text, blanks) = (shown(value), |count: u64| " ".repeat(count.min(MAX_PAD) as usize));
                let padded = blanks(integer(before)?) + &text + &blanks(integer(after)?);
                if text.is_empty() { text.into() } else { padded.into() }
            }
            (Self::Html, values) => escape::html(&print(values)).into(),
            (Self::Js, values) => escape::js(&print(values)).into(),
            (Self::UrlQuery, values) => escape::url_query(&print(values)).into(),
            (function, arguments) => {
                return Err(FunctionError::Arguments { name: function.name(), got: arguments.len() });
            }
        })
    }
}

/// Whether a value counts as true.
pub fn truth(value: &Value) -> bool {
    match duration::number(value).unwrap_or(value) {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
    }
}

/// JSON without the methods, whose names end in parentheses, and with durations as numbers.
fn json(value: &Value) -> Value {
    match value {
        value if duration::number(value).is_some() => duration::number(value).cloned().unwrap_or_default(),
        Value::Object(all) => {
            let fields = all.iter().filter(|(key, _)| !key.ends_with("()"));
            Value::Object(fields.map(|(key, value)| (key.clone(), json(value))).collect())
        }
        Value::Array(all) => all.iter().map(json).collect(),
        other => other.clone(),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    let (a, b) = (duration::number(a).unwrap_or(a), duration::number(b).unwrap_or(b));
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, FunctionError> {
    let (a, b) = (duration::number(a).unwrap_or(a), duration::number(b).unwrap_or(b));
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        },
        _ => None,
    };
    order.ok_or(FunctionError::Incomparable)
}

fn integer(value: &Value) -> Result<u64, FunctionError> {
    value.as_u64().ok_or_else(|| FunctionError::NotAnInteger(shown(value)))
}

fn index(value: &Value, key: &Value) -> Result<Value, FunctionError> {
    match (value, key) {
        (Value::Array(all), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| all.get(usize::try_from(at).ok()?));
            found.cloned().ok_or_else(|| FunctionError::OutOfRange(key.to_string()))
        }
        (Value::Object(all), Value::String(key)) => Ok(all.get(key).cloned().unwrap_or_else(|| zero(all))),
        // An empty map is null in Docker's JSON.
        (Value::Null, Value::String(_)) => Ok(zero(&Map::new())),
        (Value::Null, _) => Err(FunctionError::IndexOfNil),
        _ => Err(FunctionError::NoIndex { value: shown(value), key: shown(key) }),
    }
}

/// Go's result for a missing key: the zero of the map's values. An empty map counts as a map of strings, like labels
/// and sysctls.
fn zero(map: &Map<String, Value>) -> Value {
    if map.values().all(Value::is_string) { "".into() } else { Value::Null }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, FunctionError> {
    let length = len(value)?;
    let from = bounds.first().map_or(Ok(0), |bound| integer(bound).map(|n| n as usize))?;
    let to = bounds.get(1).map_or(Ok(length), |bound| integer(bound).map(|n| n as usize))?;
    if from > to || to > length {
        return Err(FunctionError::SliceOutOfRange { from, to, length });
    }
    match value {
        Value::Array(all) => Ok(all[from..to].to_vec().into()),
        Value::String(text) => {
            text.get(from..to).map(Value::from).ok_or(FunctionError::SliceInCharacter { from, to })
        }
        _ => Err(FunctionError::NoSlice(shown(value))),
    }
}

fn len(value: &Value) -> Result<usize, FunctionError> {
    Ok(match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.len(),
        Value::Object(all) => all.len(),
        Value::Null => 0,
        other => return Err(FunctionError::NoLength(other.to_string())),
    })
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return text.chars().map(|c| Value::from(c.to_string())).collect();
    }
    text.split(separator).map(Value::from).collect()
}

fn title(text: &str) -> String {
    let mut begins = true;
    let letters = text.chars().flat_map(|c| {
        let upper = begins;
        begins = !(c.is_alphanumeric() || c == '_' || c == '\'');
        if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
    });
    letters.collect()
}
