//! Resolves unquoted words to values as kubectl does.
//!
//! kubectl reads YAML 1.1, in which `no` is false and `010` is eight. A manifest must mean the same to
//! regcred and to the API server, so these words resolve the same way here, and a field of type text
//! rejects them instead of guessing.

use super::node::Value;

/// Resolves an unquoted word like `resolve.go` of kubectl's YAML library.
pub(crate) fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => number(word).unwrap_or_else(|| Value::Text(word.to_owned())),
    }
}

fn number(word: &str) -> Option<Value> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let word = word.replace('_', "");
    integer(&word).map(Value::Integer).or_else(|| float(&word).map(Value::Float))
}

/// Parses a decimal number, or by its prefix a hexadecimal, binary or (two prefixes) octal one.
fn integer(word: &str) -> Option<i64> {
    let (is_negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if is_negative { -magnitude } else { magnitude }).ok()
}

fn float(word: &str) -> Option<f64> {
    if word.bytes().all(is_decimal) { word.parse().ok() } else { None }
}

fn is_decimal(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')
}

#[cfg(test)]
mod tests {
    use super::super::node::Value;
    use super::resolve;

    fn check(words: &[&str], expected: &Value) {
        for word in words {
            assert_eq!(&resolve(word), expected, "{word}");
        }
    }

    #[test]
    fn words_resolve_as_in_kubectl() {
        check(&["", "~", "null"], &Value::Null);
        check(&["yes", "on", "Y", "true"], &Value::Bool(true));
        check(&["no", "off", "n", "FALSE"], &Value::Bool(false));
        check(&["8", "010", "0o10", "0x8", "0b1000", "+8"], &Value::Integer(8));
        check(&["-1_000"], &Value::Integer(-1000));
        check(&["1.5", "+1.5", "15e-1", "1_5e-1"], &Value::Float(1.5));
        check(&["1e3"], &Value::Float(1000.0));
    }

    #[test]
    fn other_words_are_text() {
        for word in
            ["ghcr.io", "127.0.0.1", "1.2.3", "0x", "-", "--1", "+", "2024-01-02", "1h", "nope", "0b12", "1e"]
        {
            check(&[word], &Value::Text(word.to_owned()));
        }
    }
}
