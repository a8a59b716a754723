//! Moments, to the microsecond, and the place of a run in a list.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::malformed::Malformed;
use super::{Cursor, RunRecord};
use crate::life::RunId;

/// The last microsecond of the year 9999, and as far into the past: every system can tell these moments.
const FARTHEST: u64 = 253_402_300_799_999_999;

/// Microseconds since 1970, rounded down; moments that are farther than any calendar are the farthest.
pub(super) fn micros(moment: SystemTime) -> i64 {
    let clamp = |micros: u128| u64::try_from(micros).unwrap_or(FARTHEST).min(FARTHEST).cast_signed();
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => clamp(since.as_micros()),
        Err(before) => -clamp(before.duration().as_nanos().div_ceil(1000)),
    }
}

pub(super) fn moment(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs().min(FARTHEST));
    let moment = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// The moment as it is kept.
pub(super) fn kept(time: SystemTime) -> SystemTime {
    moment(micros(time))
}

/// That long after, or before where the end of time is nearer.
pub(super) fn after(now: i64, duration: Duration) -> i64 {
    now.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// That long before.
pub(super) fn before(now: i64, duration: Duration) -> i64 {
    now.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// Where a run stands among all: by when it was created, and by id where several were at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) created: i64,
    pub(super) run: RunId,
}

impl Age {
    pub(super) fn of(run: &RunRecord) -> Self {
        Self { created: micros(run.created), run: run.id }
    }
}

impl From<Age> for Cursor {
    fn from(age: Age) -> Self {
        Self(format!("{}.{}", age.created, age.run))
    }
}

impl TryFrom<Cursor> for Age {
    type Error = Malformed;

    fn try_from(cursor: Cursor) -> Result<Self, Malformed> {
        let parts = cursor.0.split_once('.');
        let age = parts
            .and_then(|(created, run)| Some(Self { created: created.parse().ok()?, run: RunId::from_str(run).ok()? }));
        age.ok_or(Malformed::Cursor(cursor.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(moment_in: SystemTime, expected: i64) {
        assert_eq!(micros(moment_in), expected);
        assert_eq!(micros(moment(expected)), expected);
    }

    #[test]
    fn moments_are_rounded_down() {
        check(UNIX_EPOCH, 0);
        check(UNIX_EPOCH + Duration::from_nanos(1_999), 1);
        check(UNIX_EPOCH - Duration::from_nanos(1), -1);
        check(UNIX_EPOCH - Duration::from_micros(1), -1);
        check(UNIX_EPOCH - Duration::from_nanos(1_001), -2);
    }

    #[test]
    fn no_moment_is_too_far() {
        check(UNIX_EPOCH + Duration::from_secs(1 << 50), FARTHEST.cast_signed());
        check(UNIX_EPOCH - Duration::from_secs(1 << 50), -FARTHEST.cast_signed());
    }

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        let age = Age { created: -7, run: RunId::new() };
        assert_eq!(Age::try_from(Cursor::from(age)).unwrap(), age);
        for text in ["", ".", "1", "1.x", "x.0190163d-8694-739b-aea5-966c26f8ad90"] {
            assert!(Age::try_from(Cursor(text.to_owned())).is_err(), "{text}");
        }
    }
}
