//! Words of a command line, without a shell: quotes group, nothing expands.

/// The words of a line; `None` if a quote is not closed.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_group_and_nothing_expands() {
        let words = |line: &str| split(line).unwrap_or_default();
        assert_eq!(words("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(words("'a b' \"c 'd\" e''f"), ["a b", "c 'd", "ef"]);
        assert_eq!(
            words("$(x) *.txt ; | \\ ''"),
            ["$(x)", "*.txt", ";", "|", "\\", ""]
        );
        assert_eq!(split("a 'b"), None);
        assert_eq!(words(""), [""; 0]);
    }
}
