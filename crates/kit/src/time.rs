//! Between chrono's times and the wire's.

use chrono::{DateTime, TimeZone as _, Utc};
use prost_types::Timestamp;

/// To the wire, to the nanosecond.
pub fn to_wire(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos().min(999_999_999)).unwrap_or_default(),
    }
}

/// From the wire; `None` outside of chrono's range or with bad nanos.
pub fn of_wire(time: &Timestamp) -> Option<DateTime<Utc>> {
    Utc.timestamp_opt(time.seconds, u32::try_from(time.nanos).ok()?).single()
}
