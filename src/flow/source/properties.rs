//! Java's properties files, read as `Properties.load` reads them: ISO-8859-1, `\\uXXXX`, continued lines, and `=`, `:` or
//! blanks behind the key.
//!
//! The crate java-properties was tried: it reads Windows-1252, and refuses a whole file for one surrogate pair.

use std::collections::BTreeMap;

/// Keys and values; of a key that stands twice the last value. A byte order mark is skipped.
///
/// # Errors
/// What is wrong, in words: an escape that Java refuses, or a file in UTF-16.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is in UTF-16, which a TSD cannot read either; save it as ISO-8859-1".into());
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut values = BTreeMap::new();
    for line in logical_lines(&text) {
        let (key, value) = split(&line);
        values.insert(unescape(key)?, unescape(value)?.trim_end().to_string());
    }
    Ok(values)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Lines without comments and empty ones; a line that ends in an odd number of backslashes goes on in the next.
fn logical_lines(text: &str) -> Vec<String> {
    let (mut lines, mut joined) = (Vec::new(), None::<String>);
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches(is_blank);
        let begun = joined.is_some();
        // The second half of a line feed pair is empty, and so ends nothing.
        if !begun && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut whole = joined.take().unwrap_or_default();
        whole.push_str(line);
        let slashes = whole.len() - whole.trim_end_matches('\\').len();
        if slashes % 2 == 1 {
            whole.pop();
            joined = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    lines.extend(joined);
    lines
}

/// Key and value, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
        escaped = *c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, String> {
    // UTF-16, because a character beyond the first plane is written as two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    units.push(unit.ok_or_else(|| format!("\\u{digits} is not a character; Java rejects it too"))?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => continue,
            },
            c => c,
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(String, String)> {
        parse(bytes).unwrap().into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn files_are_read_as_java_does() {
        let text = "# c\n a=1 \nb : 2\nc 3\nd = x\\\n  y\n! no\n\ne=\nf\\:\\ g=h=i\nj = k\\\\\nl=\\\n";
        let wanted =
            [("a", "1"), ("b", "2"), ("c", "3"), ("d", "xy"), ("e", ""), ("f: g", "h=i"), ("j", "k\\"), ("l", "")];
        assert_eq!(read(text.as_bytes()), wanted.map(|(key, value)| pair(key, value)));
        assert_eq!(read(b"a=1\r\nb=2\rc=3\r\n"), [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
        // A comment ends with its line, a continued line may look like one.
        assert_eq!(read(b"# x\\\na=1\nb=\\\n#2"), [pair("a", "1"), pair("b", "#2")]);
    }

    #[test]
    fn text_is_latin_1_with_escapes() {
        assert_eq!(read(b"# \xfc\nn\xe4me = caf\xe9 \x80"), [pair("n\u{e4}me", "caf\u{e9} \u{80}")]);
        assert_eq!(read(br"a = \u6e29\u5ea6 \ud83d\ude00\q\t."), [pair("a", "\u{6e29}\u{5ea6} \u{1f600}q\t.")]);
        assert!(parse(br"a = \u12").is_err() && parse(br"a = \uxyzw").is_err());
    }

    #[test]
    fn a_byte_order_mark_costs_no_property() {
        assert_eq!(read(b"\xef\xbb\xbftsd.storage.salt.width = 1\n"), [pair("tsd.storage.salt.width", "1")]);
        assert!(parse(b"\xff\xfea\0=\x001\0").unwrap_err().contains("UTF-16"));
    }
}
