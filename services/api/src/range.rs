//! `Range` of one file: which bytes a player asks for.

/// What becomes of a request for part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slice {
    /// 200: all of it. Also for what we do not serve in parts: several ranges, another unit, a malformed header.
    Whole,
    /// 206: `first..=last`, in bytes from 0.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte, inclusive; below the length.
        last: u64,
    },
    /// 416: nothing of what was asked for exists.
    Unsatisfiable,
}

/// Reads the header against a file of `length` bytes (RFC 9110, section 14).
pub(crate) fn slice(header: Option<&str>, length: u64) -> Slice {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Slice::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Slice::Whole;
    };
    // Several ranges would need a multipart answer; a server may always answer with the whole.
    if last.contains(',') {
        return Slice::Whole;
    }
    match (number(first), number(last)) {
        (Ok(None), Ok(Some(suffix))) => {
            if suffix == 0 || length == 0 {
                Slice::Unsatisfiable
            } else {
                Slice::Part {
                    first: length.saturating_sub(suffix),
                    last: length - 1,
                }
            }
        }
        (Ok(Some(first)), Ok(last)) => {
            if last.is_some_and(|last| last < first) {
                Slice::Whole
            } else if first >= length {
                Slice::Unsatisfiable
            } else {
                Slice::Part {
                    first,
                    last: last.unwrap_or(u64::MAX).min(length - 1),
                }
            }
        }
        _ => Slice::Whole,
    }
}

/// An empty text is `None`; more digits than a `u64` holds is beyond any file.
fn number(text: &str) -> Result<Option<u64>, ()> {
    let text = text.trim();
    if text.is_empty() {
        Ok(None)
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_the_file() {
        let part = |first, last| Slice::Part { first, last };
        for (header, expected) in [
            (None, Slice::Whole),
            (Some("bytes=0-"), part(0, 99)),
            (Some("bytes=0-9"), part(0, 9)),
            (Some("bytes=90-200"), part(90, 99)),
            (Some("bytes=99-99"), part(99, 99)),
            (Some("bytes=-10"), part(90, 99)),
            (Some("bytes=-1000"), part(0, 99)),
            (Some("bytes=5-99999999999999999999999999"), part(5, 99)),
            (Some("bytes=100-"), Slice::Unsatisfiable),
            (Some("bytes=99999999999999999999999999-"), Slice::Unsatisfiable),
            (Some("bytes=-0"), Slice::Unsatisfiable),
            (Some("bytes=9-5"), Slice::Whole),
            (Some("bytes=0-1,5-6"), Slice::Whole),
            (Some("bytes=a-b"), Slice::Whole),
            (Some("bytes=-"), Slice::Whole),
            (Some("lines=1-2"), Slice::Whole),
            (Some(""), Slice::Whole),
        ] {
            assert_eq!(slice(header, 100), expected, "{header:?}");
        }
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        assert_eq!(slice(Some("bytes=0-"), 0), Slice::Unsatisfiable);
        assert_eq!(slice(Some("bytes=-5"), 0), Slice::Unsatisfiable);
        assert_eq!(slice(None, 0), Slice::Whole);
    }
}
