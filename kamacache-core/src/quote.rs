//! Texts from outside, made fit for a message or a log line.
//!
//! Invariant: what comes out is on one line, holds no control character and has
//! a bounded length, whatever goes in. Called wherever a message or a warning
//! repeats what a register, a file or a user wrote.

/// The longest part of a text that a message repeats, in characters.
const MAX_CHARS: usize = 120;

/// The text in quotation marks, escaped as Rust writes it; a long one is cut.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_texts_cut() {
        let forged = "x\n2026 ERROR forged\u{1b}[31m";
        let shown = quoted(forged);
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(shown.contains("forged"), "{shown}");
        let long = "é".repeat(1 << 20);
        assert!(quoted(&long).len() < 4 * MAX_CHARS);
        assert!(quoted(&long).contains("2097152 bytes"));
    }
}
