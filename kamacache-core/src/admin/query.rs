//! The query string of an admin request: names that are known, each once, and
//! UTF-8. What breaks a rule is named, so that a typing error is not answered
//! by something else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters `names` of a query string, in that order; `None`: not given.
pub(super) fn read<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], String> {
    let mut found = [const { None }; N];
    let pairs = query.unwrap_or_default().split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        let place = names.iter().position(|known| *known == name);
        let place = place.ok_or_else(|| unknown(&name, &names))?;
        if found[place].replace(value).is_some() {
            return Err(format!("parameter {name:?} is given twice; give it once"));
        }
    }
    Ok(found)
}

/// The same for a parameter that has to be there.
pub(super) fn required(name: &str, value: Option<String>) -> Result<String, String> {
    value.ok_or_else(|| format!("parameter {name:?} is missing; ask as ?{name}=..."))
}

fn unknown(name: &str, names: &[&str]) -> String {
    let names = match names {
        [] => "none is".to_owned(),
        names => names.join(", "),
    };
    format!(
        "parameter {:?} is not known here; known: {names}",
        short(name)
    )
}

fn decode(text: &str) -> Result<String, String> {
    // A form writes a blank as a plus.
    let blanks: Cow<'_, str> = match text.contains('+') {
        true => text.replace('+', " ").into(),
        false => text.into(),
    };
    match percent_decode_str(&blanks).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(format!(
            "{:?} is not UTF-8 once its percent signs are decoded",
            short(text)
        )),
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s43_parameters_are_read_strictly() {
        let read = |query| read(query, ["group", "key"]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(None), Ok([None, None]));
        assert_eq!(
            read(Some("key=a%2Fb+c%2B&group=g")),
            Ok([some("g"), some("a/b c+")])
        );
        assert_eq!(read(Some("key")), Ok([None, some("")]));
        for (wrong, says) in [
            ("keys=a", "known: group, key"),
            ("key=a&key=b", "twice"),
            ("key=%ff", "UTF-8"),
        ] {
            let error = read(Some(wrong)).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
