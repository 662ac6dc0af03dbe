//! Times as people and JSON have them: ISO 8601, in UTC.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// ISO 8601 in UTC with milliseconds, such as `2026-01-31T12:00:00.000Z`. `ms`: milliseconds since the epoch.
#[must_use]
pub fn iso(ms: u64) -> String {
    // Times after the year 9999 are clamped: a plugin may name any.
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// Milliseconds since the epoch of an ISO 8601 time with an offset, or of a date, which begins at 00:00 UTC. `None`: the
/// text is neither, or before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) if text.len() == DATE_CHARACTERS => {
            let date: Date = text.parse().ok()?;
            date.to_zoned(TimeZone::UTC).ok()?.timestamp()
        }
        Err(_) => return None,
    };
    u64::try_from(time.as_millisecond()).ok()
}

/// Characters of `2026-01-31`.
const DATE_CHARACTERS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_769_860_800_001, "2026-01-31T12:00:00.001Z"),
        ] {
            assert_eq!(iso(ms), text);
            assert_eq!(parse(text), Some(ms));
        }
        assert_eq!(iso(u64::MAX), iso(u64::MAX - 1));
        assert!(iso(u64::MAX).starts_with("9999-12-3"));
    }

    #[test]
    fn dates_and_offsets_are_read_and_anything_else_is_not() {
        assert_eq!(parse("2026-01-31"), parse("2026-01-31T00:00:00Z"));
        assert_eq!(parse("2026-01-31T01:00:00+01:00"), parse("2026-01-31"));
        for bad in [
            "",
            "yesterday",
            "2026-01-31T00:00:00",
            "2026-02-30",
            "2026-13-01",
            "1969-12-31",
            "1769860800",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
