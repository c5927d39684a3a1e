use super::*;

fn finds(pattern: &str, text: &str) -> bool {
    Pattern::parse(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).finds(text)
}

#[test]
fn patterns_find() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "web", true),
        ("eb", "web1", true),
        ("^eb", "web1", false),
        ("^web$", "web1", false),
        ("^web$", "web\n", false),
        ("(?m)^web$", "x\nweb\ny", true),
        ("^/?web1$", "web1", true),
        ("^/web1$", "/web1", true),
        ("w.b.*1", "webxx1", true),
        ("a+b", "b", false),
        ("a+b", "aab", true),
        ("a\\.b", "axb", false),
        ("^x$|^web1$", "web1", true),
        ("web|db", "db7", true),
        ("^(?:web|db)$", "webdb", false),
        ("^(web|db)-[0-9]+$", "db-17", true),
        ("é$", "caf\u{e9}", true),
        ("^(?i)WEB$", "web", true),
        ("(?i:W)EB", "wEB", true),
        ("(?i:W)EB", "web", false),
        ("^(?P<name>w)(?<rest>eb)$", "web", true),
        ("^.*?b$", "web", true),
        ("a.b", "a\nb", false),
        ("(?s)a.b", "a\nb", true),
        ("()|x", "", true),
        ("(?)a*(?i)*\\Q\\E+b", "B", true),
    ] {
        assert_eq!(finds(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn classes_are_res() {
    for (pattern, text, expected) in [
        ("^web[0-9]$", "web7", true),
        ("^web[0-9]$", "webx", false),
        ("^web[^0-9]$", "webx", true),
        ("^[a-c-]+$", "a-c", true),
        ("^[]a]+$", "]a", true),
        ("^[^]a]$", "]", false),
        ("^[[a]+$", "[a", true),
        ("^[[:]+$", "[:", true),
        ("^[\\d-z]+$", "1-z", true),
        ("^[a&&b]+$", "a&b", true),
        ("^[a~~]+$", "a~", true),
        ("^[!--]+$", "-,+", true),
        ("^[.*+?{}()|$^]+$", "^.*+?{}()|$", true),
        ("^[\\]\\\\\\-]+$", "]\\-", true),
        ("^[\\d_]+$", "1_2", true),
        ("^[[:alpha:]]+[[:digit:]]$", "web1", true),
        ("^[[:^alpha:]]+$", "12", true),
        ("^[\\x41-\\x{43}\\104]+$", "ABCD", true),
        ("^\\d\\D\\w\\W\\s\\S$", "1aa- x", true),
        ("\\d", "\u{661}", false),
        ("(?i)^[a-z]+$", "WEB", true),
        ("(?i)^[!-z]+$", "WEB", true),
        ("(?i)^[^\\x61-\\x7a]+$", "WEB", false),
    ] {
        assert_eq!(finds(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn counts_are_res() {
    for (pattern, text, expected) in [
        ("^a{2}$", "aa", true),
        ("^a{2}$", "aaa", false),
        ("^a{2,}$", "aaaa", true),
        ("^a{2,3}$", "aaaa", false),
        ("^a{2,3}?$", "aaa", true),
        ("^(ab){2}$", "abab", true),
        ("^a{0}$", "", true),
        ("^a{1000}$", &"a".repeat(1000), true),
        // No counts, so the braces stand for themselves.
        ("^a{,2}$", "a{,2}", true),
        ("^a{x}$", "a{x}", true),
        ("^{$", "{", true),
        ("^a{01}$", "a{01}", true),
        ("^a{1, 2}$", "a{1, 2}", true),
    ] {
        assert_eq!(finds(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn escapes_are_res() {
    for (pattern, text, expected) in [
        ("\\bweb\\b", "a web b", true),
        ("\\bweb\\b", "webs", false),
        ("\\Beb\\z", "web", true),
        ("\\Aweb", "a web", false),
        ("^\\<a\\>\\_\\-\\/\\ $", "<a>_-/ ", true),
        ("^\\x2e\\x{2F}\\056\\0$", "./.\0", true),
        ("^\\Qa.b*\\E+$", "a.b**", true),
        ("^\\Qa.b$", "a.b$", true),
        ("^\\t\\n\\r\\f\\v\\a$", "\t\n\r\u{c}\u{b}\u{7}", true),
        ("\\b{1}a", "a", true),
        ("\\b{start}", "{start}", false),
    ] {
        assert_eq!(finds(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn mistakes_are_told_in_gos_words() {
    for (pattern, words) in [
        ("^web[", "missing closing ]: `[`"),
        ("[a-", "missing closing ]: `[a-`"),
        ("[]", "missing closing ]: `[]`"),
        ("x[^a", "missing closing ]: `[^a`"),
        ("(web", "missing closing ): `(web`"),
        ("web)", "unexpected ): `web)`"),
        ("*web", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("(?:{2})", "missing argument to repetition operator: `{2}`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("a{99999999999999999999}", "invalid repeat count"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a-\\d]", "invalid escape sequence: `\\d`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        ("web\\", "trailing backslash at end of expression: ``"),
        ("[\\", "trailing backslash at end of expression: ``"),
        ("\\y", "invalid escape sequence: `\\y`"),
        ("\\é", "invalid escape sequence: `\\é`"),
        ("(a)\\1", "invalid escape sequence: `\\1`"),
        ("\\xg0", "invalid escape sequence"),
        ("\\x{110000}", "invalid escape sequence"),
        ("\\xé", "invalid escape sequence"),
        ("[\\b]", "invalid escape sequence: `\\b`"),
        ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!b)", "invalid named capture: `(?<!b)`"),
        ("(?P=a)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?i-)", "invalid or unsupported Perl syntax"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        ("(?P<a-b>a)", "invalid named capture: `(?P<a-b>`"),
        ("(?P<a", "invalid named capture: `(?P<a`"),
        ("\\pL", "Unicode classes are not supported: `\\p`"),
    ] {
        let error = Pattern::parse(pattern).unwrap_err().to_string();
        assert!(error.starts_with(&format!("error parsing regexp: {words}")), "{pattern}: {error}");
    }
}

#[test]
fn size_is_bounded() {
    assert!(finds(&"a*".repeat(50), &"a".repeat(1000)));
    assert!(!finds(&("a*".repeat(50) + "b"), &"a".repeat(1000)));
    let long = Pattern::parse(&"a".repeat(MAX_PATTERN + 1)).unwrap_err();
    assert_eq!(long.to_string(), "the pattern is longer than 1024 bytes");
    for large in ["((a{1000}){1000}){1000}", "((){1000}){1000}"] {
        assert_eq!(Pattern::parse(large).unwrap_err(), PatternError::TooLarge, "{large}");
    }
    let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
    assert!(finds(&nested(40), "a"));
    let error = Pattern::parse(&nested(41)).unwrap_err().to_string();
    assert!(error.contains("nests too deeply"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_pattern_panics_or_is_translated_wrongly(
        pattern in "(\\\\|\\[|\\]|\\(|\\)|\\(\\?|\\{|\\}|[0-9]{1,3}|,|-|\\^|\\$|\\*|\\+|\\?|\\.|\\||:|[a-zA-Zé<>&~ ]|\\[:alpha:\\]|P<){0,16}",
        text in "[a-cé{}\\[\\]0-3-]{0,12}",
    ) {
        if let Ok(translated) = syntax::translate(&pattern) {
            // Only its size can be refused.
            match Regex::new(&translated) {
                Ok(regex) => drop(regex.is_match(&text)),
                Err(e) => proptest::prop_assert!(e.to_string().contains("size"), "{}: {}", translated, e),
            }
        }
    }

    #[test]
    fn plain_names_find_themselves(name in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,20}", around in "[a-z]{0,3}") {
        let pattern = Pattern::parse(&name).unwrap();
        let found = pattern.finds(&format!("{around}{name}{around}"));
        proptest::prop_assert!(found);
    }
}
