//! Options from a TOML file: names at the top, `[tls]`, and `[groups.NAME]`.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Given, Origin};
use crate::exit::{Failure, Outcome};

/// Larger than any configuration.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Outcome<Vec<Given>> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Failure::config(format!(
            "configuration file {shown} cannot be read: {error}"
        ))
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.len() > MAX_BYTES {
        return Err(Failure::config(format!(
            "configuration file {shown} has {} bytes; the limit is {MAX_BYTES}",
            about.len()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&shown.to_string(), &text)
}

pub(super) fn parse(file: &str, text: &str) -> Outcome<Vec<Given>> {
    let table = DeTable::parse(text).map_err(|error| malformed(file, text, &error))?;
    let mut reader = Reader {
        file,
        text,
        given: Vec::new(),
    };
    for (name, value) in table.get_ref() {
        reader.top(name, value)?;
    }
    Ok(reader.given)
}

/// Names the place and the rule. The parser's own text repeats the line, which
/// may hold a token or a password.
fn malformed(file: &str, text: &str, error: &toml::de::Error) -> Failure {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let rule = error.message().replace('\n', ", ");
    Failure::config(format!(
        "configuration file {file}: line {line}, column {column}: {rule}; texts stand in quotes, as name = \"text\""
    ))
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    given: Vec<Given>,
}

type Name<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl Reader<'_> {
    fn top(&mut self, name: &Name<'_>, value: &Spanned<DeValue<'_>>) -> Outcome {
        match (&**name.get_ref(), value.get_ref()) {
            ("tls", DeValue::Table(table)) => {
                for (option, value) in table {
                    let full = format!("tls_{}", option.get_ref());
                    self.option(None, &full, option, value)?;
                }
                Ok(())
            }
            ("groups", DeValue::Table(groups)) => {
                for (group, value) in groups {
                    self.group(group, value)?;
                }
                Ok(())
            }
            ("groups" | "tls", _) => {
                Err(self.wrong(name, "is a table: write [groups.NAME] or [tls]"))
            }
            (plain, _) => self.option(None, plain, name, value),
        }
    }

    fn group(&mut self, name: &Name<'_>, value: &Spanned<DeValue<'_>>) -> Outcome {
        let DeValue::Table(options) = value.get_ref() else {
            return Err(self.wrong(
                name,
                "is a group: write [groups.NAME] and its options below",
            ));
        };
        if options.is_empty() {
            return Err(self.wrong(name, "is a group without options; max_bytes is needed"));
        }
        for (option, value) in options {
            self.option(Some(name.get_ref()), option.get_ref(), option, value)?;
        }
        Ok(())
    }

    fn option(
        &mut self,
        group: Option<&str>,
        full: &str,
        name: &Name<'_>,
        value: &Spanned<DeValue<'_>>,
    ) -> Outcome {
        let text = self.text_of(name, value.get_ref())?;
        self.given.push(Given {
            group: group.map(str::to_owned),
            name: full.to_owned(),
            text,
            origin: self.origin(name),
        });
        Ok(())
    }

    /// A value as a flag would carry it.
    fn text_of(&self, name: &Name<'_>, value: &DeValue<'_>) -> Outcome<String> {
        Ok(match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Array(list) => {
                let entries: Outcome<Vec<_>> = list
                    .iter()
                    .map(|one| match one.get_ref() {
                        DeValue::String(text) => Ok(text.to_string()),
                        _ => Err(self.wrong(name, "is a list of strings")),
                    })
                    .collect();
                // A token may hold a comma.
                let separator = match &**name.get_ref() {
                    "cluster_token" => " ",
                    _ => ",",
                };
                entries?.join(separator)
            }
            _ => return Err(self.wrong(name, "is a string, a whole number, true or false")),
        })
    }

    fn origin(&self, name: &Name<'_>) -> Origin {
        let before = self.text.get(..name.span().start).unwrap_or_default();
        Origin::File(self.file.to_owned(), before.matches('\n').count() + 1)
    }

    fn wrong(&self, name: &Name<'_>, rule: &str) -> Failure {
        Failure::config(format!(
            "{}: {:?} {rule}",
            self.origin(name),
            name.get_ref()
        ))
    }
}
