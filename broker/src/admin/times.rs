//! Times as people write them.

use jiff::{SignedDuration, Timestamp};

/// Milliseconds since 1970 of `2026-01-31T12:00:00Z` (any RFC 3339 form with an offset), of a number of milliseconds, or of
/// a span before `now_ms`: `-2h30m`, `-7d`.
pub(crate) fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    let bad =
        || format!("`{text}` is no time: 2026-01-31T12:00:00Z, milliseconds since 1970, or a span ago such as -2h30m");
    if let Some(span) = text.strip_prefix('-') {
        let span = in_hours(span).parse::<SignedDuration>().map_err(|_| bad())?;
        let ms = i64::try_from(span.as_millis()).map_err(|_| bad())?;
        return Ok(now_ms.saturating_sub(ms).max(0));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return text.parse().map_err(|_| bad());
    }
    let timestamp: Timestamp = text.parse().map_err(|_| bad())?;
    Ok(timestamp.as_millisecond().max(0))
}

/// `7d` as `168h`: a span that is counted in hours and smaller units has no days, whose length depends on the place.
fn in_hours(span: &str) -> String {
    match span
        .split_once('d')
        .and_then(|(days, rest)| Some((days.trim().parse::<u32>().ok()?, rest)))
    {
        Some((days, rest)) if rest.trim().is_empty() => format!("{}h", u64::from(days) * 24),
        _ => span.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_three_forms() {
        let now_ms = 1_800_000_000_000;
        let cases = [
            ("1970-01-01T00:00:01Z", 1_000),
            ("2026-11-23T21:00:00+02:00", 1_795_460_400_000),
            ("1795460400000", 1_795_460_400_000),
            ("-2h30m", now_ms - 9_000_000),
            ("-7d", now_ms - 7 * 86_400_000),
            ("-90000000h", 0),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_time(text, now_ms), Ok(ms), "{text}");
        }
        for bad in ["", "yesterday", "2026-11-23", "-", "-x", "99999999999999999999"] {
            assert!(parse_time(bad, now_ms).is_err(), "{bad}");
        }
    }
}
