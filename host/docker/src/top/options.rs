//! The options of ps(1) that choose columns.

use thiserror::Error;

use super::columns::Column;

/// Why options of ps are refused.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// There is no such option.
    #[error("unknown ps option '{0}': there are -e, -f, a, u, x and -o COLUMN[=HEADER],...")]
    UnknownOption(String),
    /// Nothing follows `-o`.
    #[error("{0}: the names of columns are missing")]
    NoColumns(String),
    /// There is no such column.
    #[error("unknown ps column '{0}': there are {known}", known = Column::names().join(", "))]
    UnknownColumn(String),
}

/// The columns of a table with their headers.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Each column with its header, from left to right.
    pub(super) columns: Vec<(Column, String)>,
}

/// The columns of `ps`, `ps -f`, `ps ax` and `ps aux`.
const PLAIN: [&str; 4] = ["pid", "tname", "time", "cmd"];
const FULL: [&str; 8] = ["user", "pid", "ppid", "c", "stime", "tname", "time", "cmd"];
const BSD: [&str; 5] = ["pid", "tname", "stat", "bsdtime", "args"];
const USER: [&str; 11] =
    ["user", "pid", "pcpu", "pmem", "vsz", "rss", "tname", "stat", "bsdstart", "bsdtime", "args"];

impl Layout {
    /// Reads the options of ps. No option at all means `-ef`.
    ///
    /// # Errors
    /// When an option or a column is unknown.
    pub fn parse(words: &[String]) -> Result<Self, LayoutError> {
        let mut own: Vec<(Column, String)> = Vec::new();
        let mut preset: &[&str] = if words.is_empty() { &FULL } else { &PLAIN };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            // As in GNU's ps, -aux means aux.
            if matches!(word, "-aux" | "-axu") {
                preset = &USER;
                continue;
            }
            let (letters, dashed) = word.strip_prefix('-').map_or((word, false), |letters| (letters, true));
            if letters.is_empty() {
                return Err(LayoutError::UnknownOption(word.to_owned()));
            }
            for (at, letter) in letters.char_indices() {
                match (letter, dashed) {
                    ('e' | 'A' | 'a' | 'd' | 'w', true) => {}
                    ('f' | 'F', true) => preset = &FULL,
                    ('a' | 'x' | 'w', false) if preset == USER => {}
                    ('a' | 'x' | 'w', false) => preset = &BSD,
                    ('u', false) => preset = &USER,
                    ('o', _) => {
                        let list = match &letters[at + 1..] {
                            "" => words.next(),
                            list => Some(list),
                        };
                        let list = list.ok_or_else(|| LayoutError::NoColumns(word.to_owned()))?;
                        own.extend(chosen(list)?);
                        break;
                    }
                    _ => return Err(LayoutError::UnknownOption(word.to_owned())),
                }
            }
        }
        if own.is_empty() {
            let known = preset.iter().filter_map(|name| Some((Column::named(name)?, name)));
            own = known.map(|(column, name)| (column, column.header(name).to_owned())).collect();
            // ps calls this column UID in its full format although it shows names.
            if preset == FULL {
                own[0].1 = "UID".to_owned();
            }
        }
        Ok(Self { columns: own })
    }
}

/// Reads `NAME,NAME=HEADER`. A header takes the rest of the list.
fn chosen(list: &str) -> Result<Vec<(Column, String)>, LayoutError> {
    let mut found = Vec::new();
    let mut rest = Some(list);
    while let Some(list) = rest {
        let end = list.find([',', '=']).unwrap_or(list.len());
        let name = list[..end].trim();
        let Some(column) = Column::named(name) else {
            return Err(LayoutError::UnknownColumn(name.to_owned()));
        };
        let (header, next) = match list[end..].chars().next() {
            Some('=') => (&list[end + 1..], None),
            Some(_) => (column.header(name), Some(&list[end + 1..])),
            None => (column.header(name), None),
        };
        found.push((column, header.to_owned()));
        rest = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<String>, LayoutError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Layout::parse(&words)?.columns.into_iter().map(|(_, header)| header).collect())
    }

    #[test]
    fn presets_are_those_of_ps() {
        for full in [&[][..], &["-ef"], &["-e", "-f"], &["-f"]] {
            assert_eq!(parse(full).unwrap(), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        }
        assert_eq!(parse(&["-e"]).unwrap(), ["PID", "TTY", "TIME", "CMD"]);
        assert_eq!(parse(&["ax"]).unwrap(), ["PID", "TTY", "STAT", "TIME", "COMMAND"]);
        for user in [["aux"], ["-aux"], ["axu"], ["u"], ["auxww"]] {
            assert_eq!(parse(&user).unwrap()[..4], ["USER", "PID", "%CPU", "%MEM"]);
        }
    }

    #[test]
    fn columns_are_chosen_by_name() {
        for (words, headers) in [
            (&["-o", "pid,comm"][..], &["PID", "COMMAND"][..]),
            (&["-eo", "pid,cmd"], &["PID", "CMD"]),
            (&["-eopid,args"], &["PID", "COMMAND"]),
            (&["o", "pid"], &["PID"]),
            (&["-o", "pid", "-o", "user=WHO"], &["PID", "WHO"]),
            (&["-o", "pid,rss=Memory, resident"], &["PID", "Memory, resident"]),
        ] {
            assert_eq!(parse(words).unwrap(), headers, "{words:?}");
        }
    }

    #[test]
    fn what_is_unknown_is_told() {
        for (words, part) in [
            (&["-z"][..], "unknown ps option '-z'"),
            (&["--forest"], "unknown ps option '--forest'"),
            (&["-"], "unknown ps option '-'"),
            (&["-o"], "names of columns are missing"),
            (&["-o", "pid,wchan"], "unknown ps column 'wchan': there are pid"),
            (&["-o", "pid,"], "unknown ps column ''"),
            (&["1"], "unknown ps option"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
