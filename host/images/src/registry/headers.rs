//! Headers of answers.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use ureq::Body;
use ureq::http::{Response, header};

/// A header, if it is text.
pub(super) fn header_of<'a>(response: &'a Response<Body>, name: &header::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// How long the registry wants to be left alone.
pub(super) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    wait_for(header_of(response, &header::RETRY_AFTER)?.trim(), Timestamp::now())
}

/// Understands `Retry-After`: so many seconds, or until then.
fn wait_for(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    Some(then.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_said_in_two_ways() {
        let now: Timestamp = "1994-11-06T08:49:37Z".parse().expect("a time");
        for (text, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(wait_for(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
