//! What becomes of departures that are there when a schedule or a blackout changes: nothing is lost, because bookings
//! may hang on any of them.

use std::collections::HashMap;

use super::{
    DepartureId, ScheduleId,
    departure::{Departure, DepartureState},
};

/// The departures of `existing` that change, as they shall be.
///
/// - One that is planned, or was made by hand, stays on sale unless its date is blacked out; if it was withdrawn, it opens
///   again. What was closed by hand stays closed.
/// - One that is not planned any more, or is blacked out, is withdrawn: closed, with all its bookings.
/// - One that another schedule takes over gets that one's capacity, unless it was given a capacity of its own.
pub(crate) fn settled(
    existing: Vec<Departure>,
    planned: &[Departure],
    capacities: &HashMap<ScheduleId, i32>,
    blacked_out: impl Fn(&Departure) -> bool,
) -> Vec<Departure> {
    let mut plans: HashMap<DepartureId, Vec<&Departure>> = HashMap::new();
    for plan in planned {
        plans.entry(plan.id).or_default().push(plan);
    }
    let mut changed = Vec::new();
    for departure in existing {
        if departure.state == DepartureState::Cancelled {
            continue;
        }
        let mut next = departure.clone();
        let plan = plans.get(&departure.id).and_then(|all| {
            let own = all.iter().find(|plan| plan.schedule == departure.schedule);
            own.or(all.first()).copied()
        });
        if let (Some(old), Some(plan)) = (departure.schedule, plan)
            && plan.schedule != departure.schedule
        {
            next.schedule = plan.schedule;
            if capacities.get(&old) == Some(&departure.capacity) {
                next.capacity = plan.capacity;
            }
        }
        let wanted = !blacked_out(&departure) && (plan.is_some() || departure.schedule.is_none());
        if wanted && departure.withdrawn {
            next.state = DepartureState::Open;
            next.withdrawn = false;
        } else if !wanted && departure.state == DepartureState::Open {
            next.state = DepartureState::Closed;
            next.withdrawn = true;
        }
        if next != departure {
            next.version += 1;
            changed.push(next);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use chrono_tz::Tz;

    use super::*;
    use crate::domain::{OptionId, SupplierId, TourId};

    fn departure(option: OptionId, hour: u32, schedule: Option<ScheduleId>, capacity: i32) -> Departure {
        let local_start = chrono::NaiveDate::from_ymd_opt(2026, 6, 1).unwrap().and_hms_opt(hour, 0, 0).unwrap();
        Departure {
            id: DepartureId::at(option, local_start),
            tour: TourId::new(),
            option,
            supplier: SupplierId::new(),
            schedule,
            local_start,
            time_zone: Tz::UTC,
            starts_at: DateTime::UNIX_EPOCH,
            duration_minutes: 60,
            capacity,
            state: DepartureState::Open,
            withdrawn: false,
            version: 1,
        }
    }

    #[test]
    fn what_is_planned_stays_what_is_not_is_closed_and_what_hands_did_holds() {
        let (old, new, option) = (ScheduleId::new(), ScheduleId::new(), OptionId::new());
        let capacities = [(old, 10), (new, 20)].into();
        let kept = departure(option, 8, Some(old), 10);
        let resized = departure(option, 9, Some(old), 15);
        let gone = departure(option, 10, Some(old), 10);
        let by_hand = departure(option, 11, None, 5);
        let closed = Departure { state: DepartureState::Closed, ..departure(option, 12, Some(old), 10) };
        let off = Departure { state: DepartureState::Cancelled, ..departure(option, 13, Some(old), 10) };
        let all = vec![kept.clone(), resized.clone(), gone.clone(), by_hand.clone(), closed.clone(), off];
        let planned = [8, 9, 12].map(|hour| departure(option, hour, Some(new), 20));
        let changed = settled(all, &planned, &capacities, |_| false);
        let withdrawn = Departure { state: DepartureState::Closed, withdrawn: true, version: 2, ..gone.clone() };
        assert_eq!(
            changed,
            [
                Departure { schedule: Some(new), capacity: 20, version: 2, ..kept.clone() },
                Departure { schedule: Some(new), version: 2, ..resized },
                withdrawn.clone(),
                Departure { schedule: Some(new), capacity: 20, version: 2, ..closed },
            ]
        );
        // The way back opens what was withdrawn; a second time nothing happens.
        let planned = [departure(option, 10, Some(old), 10)];
        let back = settled(vec![withdrawn], &planned, &capacities, |_| false);
        assert_eq!(back, [Departure { version: 3, ..gone.clone() }]);
        assert_eq!(settled(back, &planned, &capacities, |_| false), []);
        // A blackout closes what hands have made too, and its end opens that again.
        let out = settled(vec![by_hand.clone()], &[], &capacities, |_| true);
        assert!(out[0].withdrawn && out[0].state == DepartureState::Closed);
        assert_eq!(settled(out, &[], &capacities, |_| false), [Departure { version: 3, ..by_hand }]);
    }
}
