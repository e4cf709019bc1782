//! The event for the calendar: iCalendar (RFC 5545).
//!
//! Start and end are in UTC: every program shows them in its reader's own time, and no table of clock changes has to
//! travel along and be right. The tour's own time is in the description. The id is the booking's and the sequence its
//! version, so that a moved or cancelled booking changes the entry that is there.

use chrono::{DateTime, Utc};

use crate::domain::{BookingId, facts::BookingFacts, locale, message::Language};

/// The event, or `None` when the booking has no start that is a date.
pub fn event(
    booking: BookingId,
    facts: &BookingFacts,
    language: Language,
    domain: &str,
    cancelled: bool,
    made_at: DateTime<Utc>,
) -> Option<String> {
    let (start, end) = (facts.start()?, facts.end()?);
    let time = |at: DateTime<Utc>| at.format("%Y%m%dT%H%M%SZ").to_string();
    let (tour, option) = (facts.tour.shown_in(language), facts.option.shown_in(language));
    let local = locale::date_time(&facts.local_start, language);
    let about = match language {
        Language::En => format!("{option}\nStart: {local} (local time, {})\nBooking: {booking}", facts.time_zone),
        Language::Fr => {
            format!("{option}\nDépart : {local} (heure locale, {})\nRéservation : {booking}", facts.time_zone)
        }
    };
    let remind = match language {
        Language::En => "Your tour starts in two hours",
        Language::Fr => "Votre visite commence dans deux heures",
    };
    let mut lines = vec![
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//tourmesh//booking//EN".to_owned(),
        "CALSCALE:GREGORIAN".to_owned(),
        "METHOD:PUBLISH".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{booking}@{domain}"),
        format!("SEQUENCE:{}", facts.version.max(0)),
        format!("DTSTAMP:{}", time(made_at)),
        format!("DTSTART:{}", time(start)),
        format!("DTEND:{}", time(end)),
        format!("SUMMARY;LANGUAGE={}:{}", language.as_str(), escaped(tour)),
        format!("DESCRIPTION;LANGUAGE={}:{}", language.as_str(), escaped(&about)),
        format!("STATUS:{}", if cancelled { "CANCELLED" } else { "CONFIRMED" }),
        "TRANSP:OPAQUE".to_owned(),
    ];
    if !cancelled {
        lines.extend(
            ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT2H"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("DESCRIPTION:{}", escaped(remind)), "END:VALARM".to_owned()]),
        );
    }
    lines.extend(["END:VEVENT".to_owned(), "END:VCALENDAR".to_owned()]);
    Some(lines.iter().map(|line| folded(line)).collect())
}

/// Text as a value: what has a meaning is escaped, control characters go.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' | ';' | ',' => safe.extend(['\\', letter]),
            '\n' => safe.push_str("\\n"),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// A line of at most 75 bytes, and its continuations.
fn folded(line: &str) -> String {
    let (mut text, mut length) = (String::with_capacity(line.len() + 8), 0);
    for letter in line.chars() {
        if length + letter.len_utf8() > 75 {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(letter);
        length += letter.len_utf8();
    }
    text + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview;

    fn unfolded(event: &str) -> Vec<String> {
        event.replace("\r\n ", "").split_terminator("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn the_event_is_at_the_instant_of_the_tours_own_clock() {
        let mut facts = preview::booking();
        let booking = BookingId::new();
        for (local, zone, start, end) in [
            ("2027-01-01T09:00", "Europe/Paris", "20270101T080000Z", "20270101T103000Z"),
            ("2027-07-01T09:00", "Europe/Paris", "20270701T070000Z", "20270701T093000Z"),
            ("2027-07-01T09:00", "Asia/Kathmandu", "20270701T031500Z", "20270701T054500Z"),
            // Over the change of clocks: it takes as long as it takes.
            ("2027-10-31T01:30", "Europe/Paris", "20271030T233000Z", "20271031T020000Z"),
        ] {
            facts.local_start = local.to_owned();
            facts.time_zone = zone.to_owned();
            facts.starts_at = None;
            let event = event(booking, &facts, Language::En, "t.example", false, DateTime::UNIX_EPOCH).unwrap();
            let lines = unfolded(&event);
            assert!(lines.contains(&format!("DTSTART:{start}")) && lines.contains(&format!("DTEND:{end}")), "{event}");
        }
    }

    #[test]
    fn a_moved_or_cancelled_booking_is_the_same_entry() {
        let (mut facts, booking) = (preview::booking(), BookingId::new());
        let of = |facts: &_, cancelled| {
            unfolded(&event(booking, facts, Language::Fr, "t.example", cancelled, DateTime::UNIX_EPOCH).unwrap())
        };
        let before = of(&facts, false);
        facts.version += 1;
        let after = of(&facts, true);
        let uid = format!("UID:{booking}@t.example");
        assert!(before.contains(&uid) && after.contains(&uid));
        assert!(after.contains(&format!("SEQUENCE:{}", facts.version)) && after.contains(&"STATUS:CANCELLED".into()));
        assert!(!before.contains(&format!("SEQUENCE:{}", facts.version)));
    }

    #[test]
    fn lines_are_short_and_text_is_escaped() {
        let mut facts = preview::booking();
        facts.tour.en = "Seine; banks, \\ and é".repeat(12) + "\r\nBEGIN:VALARM";
        let event = event(BookingId::new(), &facts, Language::En, "t.example", false, DateTime::UNIX_EPOCH).unwrap();
        assert!(event.split("\r\n").all(|line| line.len() <= 75));
        let lines = unfolded(&event);
        assert_eq!(lines.iter().filter(|l| *l == "BEGIN:VALARM").count(), 1);
        let summary = lines.iter().find(|l| l.starts_with("SUMMARY")).unwrap();
        assert!(summary.contains("Seine\\; banks\\, \\\\ and é") && summary.ends_with("\\nBEGIN:VALARM"), "{summary}");
    }
}
