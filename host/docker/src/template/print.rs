//! Values as Go prints them: bare, and by the verbs of `printf`.

use std::fmt::Write as _;

use serde_json::Value;

use super::duration;

/// The widest field of `printf`, Go's.
const MAX_WIDTH: usize = 1_000_000;

/// A value as `{{.}}` prints it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => {
            let mut text = String::new();
            append(&mut text, other);
            text
        }
    }
}

fn append(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("<nil>"),
        Value::String(string) => text.push_str(string),
        Value::Array(all) => {
            text.push('[');
            for (i, one) in all.iter().enumerate() {
                text.push_str(if i > 0 { " " } else { "" });
                append(text, one);
            }
            text.push(']');
        }
        value if duration::number(value).is_some() => {
            let nanoseconds = duration::number(value).and_then(Value::as_i64);
            text.push_str(&duration::text(nanoseconds.unwrap_or(i64::MAX)));
        }
        Value::Object(all) => {
            text.push_str("map[");
            for (i, (key, one)) in all.iter().enumerate() {
                let _ = write!(text, "{}{key}:", if i > 0 { " " } else { "" });
                append(text, one);
            }
            text.push(']');
        }
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

/// `print`: blanks only between two operands that are not texts.
pub fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 && !value.is_string() && !values[i - 1].is_string() {
            text.push(' ');
        }
        append(&mut text, value);
    }
    text
}

/// `println`: blanks between all operands, and a new line.
pub fn println(values: &[Value]) -> String {
    let mut text = String::new();
    for (i, value) in values.iter().enumerate() {
        text.push_str(if i > 0 { " " } else { "" });
        append(&mut text, value);
    }
    text + "\n"
}

/// `printf`, with the verbs %s %v %q %d %x %f %t %% and the flags `-`, `0`, `+`, width and precision.
pub fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((literal, directive)) = rest.split_once('%') {
        text.push_str(literal);
        let verb_at = directive.find(|c: char| !(c.is_ascii_digit() || "-+ #.".contains(c)));
        let Some((at, verb)) = verb_at.and_then(|at| Some((at, directive[at..].chars().next()?))) else {
            text.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = &directive[at + verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        match values.next() {
            Some(value) => text.push_str(&Layout::parse(&directive[..at]).apply(verb, value)),
            None => {
                let _ = write!(text, "%!{verb}(MISSING)");
            }
        }
    }
    text.push_str(rest);
    let extra: Vec<_> = values.map(|value| format!("{}={}", type_name(value), shown(value))).collect();
    if !extra.is_empty() {
        let _ = write!(text, "%!(EXTRA {})", extra.join(", "));
    }
    text
}

/// The flags, width and precision between `%` and the verb.
struct Layout {
    left: bool,
    zeros: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

impl Layout {
    fn parse(text: &str) -> Self {
        let number = |text: &str| text.parse::<usize>().unwrap_or(0).min(MAX_WIDTH);
        let flags = text.len() - text.trim_start_matches(['-', '+', '0', ' ', '#']).len();
        let (flags, sizes) = text.split_at(flags);
        let (width, precision) = sizes.split_once('.').map_or((sizes, None), |(w, p)| (w, Some(p)));
        Self {
            left: flags.contains('-'),
            zeros: flags.contains('0'),
            plus: flags.contains('+'),
            width: number(width),
            precision: precision.map(number),
        }
    }

    fn apply(&self, verb: char, value: &Value) -> String {
        let signed = |text: String| {
            if self.plus && !text.starts_with('-') { format!("+{text}") } else { text }
        };
        let text = match (verb, value) {
            ('v', value) => print(std::slice::from_ref(value)),
            ('s', Value::String(_) | Value::Array(_) | Value::Object(_)) => shown(value),
            ('q', Value::String(text)) => Value::from(text.as_str()).to_string(),
            ('q', Value::Array(all)) => {
                let all: Vec<_> = all.iter().map(|one| self.apply(verb, one)).collect();
                format!("[{}]", all.join(" "))
            }
            ('d', value) if duration::number(value).is_some() => {
                self.apply('d', duration::number(value).unwrap_or(&Value::Null))
            }
            ('d', Value::Number(number)) if !number.is_f64() => signed(number.to_string()),
            ('x', Value::Number(number)) if number.is_u64() => {
                format!("{:x}", number.as_u64().unwrap_or_default())
            }
            ('f', Value::Number(number)) if number.is_f64() => {
                let digits = self.precision.unwrap_or(6);
                signed(format!("{:.digits$}", number.as_f64().unwrap_or_default()))
            }
            ('t', Value::Bool(yes)) => yes.to_string(),
            (verb, Value::Null) => format!("%!{verb}(<nil>)"),
            (verb, value) => format!("%!{verb}({}={})", type_name(value), shown(value)),
        };
        let text = match self.precision {
            Some(most) if matches!(verb, 's' | 'v') => text.chars().take(most).collect(),
            _ => text,
        };
        let width = self.width;
        match () {
            () if self.left => format!("{text:<width$}"),
            () if self.zeros && value.is_number() => {
                let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
                format!("{sign}{digits:0>fill$}", fill = width.saturating_sub(sign.len()))
            }
            () => format!("{text:>width$}"),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_does() {
        assert_eq!(shown(&json!(null)), "<no value>");
        assert_eq!(shown(&json!([1, null, {"b": true, "a": "x"}])), "[1 <nil> map[a:x b:true]]");
        assert_eq!(print(&[json!("a"), json!(1), json!(2), json!("b")]), "a1 2b");
        assert_eq!(println(&[json!("a"), json!(1)]), "a 1\n");
    }

    #[test]
    fn verbs_have_widths() {
        for (format, values, expected) in [
            ("%s-%d-%v", vec![json!("a"), json!(7), json!([1])], "a-7-[1]"),
            ("%q", vec![json!("a\"b")], "\"a\\\"b\""),
            ("[%-6s][%6s][%.2s]", vec![json!("abc"), json!("abc"), json!("abc")], "[abc   ][   abc][ab]"),
            ("%05d|%+d|%x", vec![json!(-42), json!(3), json!(255)], "-0042|+3|ff"),
            ("%.1f%%", vec![json!(12.34)], "12.3%"),
            ("%d", vec![json!("a")], "%!d(string=a)"),
            ("%s %s", vec![json!("a")], "a %!s(MISSING)"),
            ("a", vec![json!(1)], "a%!(EXTRA int=1)"),
            ("100%", vec![], "100%!(NOVERB)"),
        ] {
            assert_eq!(printf(format, &values), expected, "{format}");
        }
        assert_eq!(printf("%99999999999999999999s", &[json!("a")]).len(), 1);
    }
}
