//! Messages that came back: what a delivery status notification (RFC 3464) says about one of ours.

use super::DeliveryId;

/// What came back, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounce {
    /// Which delivery, by its Message-ID.
    pub delivery: DeliveryId,
    /// The status and what the server said.
    pub reason: String,
    /// The address is none: nothing more is to be sent to it.
    pub dead: bool,
}

/// It is no delivery status notification, or not about a message of ours that has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// No report of a failure.
    NoFailure,
    /// About a message that is not ours.
    NotOurs,
}

/// Reads a whole e-mail. Delays are no failures.
///
/// # Errors
/// [`Unreadable`].
pub fn read(message: &str) -> Result<Bounce, Unreadable> {
    let lower = message.to_ascii_lowercase();
    if !lower.contains("report-type=delivery-status") && !lower.contains("report-type=\"delivery-status\"") {
        return Err(Unreadable::NoFailure);
    }
    let field = |name: &str| {
        message.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let status = field("Status").unwrap_or_default();
    if !field("Action").is_some_and(|a| a.eq_ignore_ascii_case("failed")) || !status.starts_with("5.") {
        return Err(Unreadable::NoFailure);
    }
    let delivery = message.split('<').find_map(|rest| rest.split_once('@')?.0.parse().ok());
    let diagnosis = field("Diagnostic-Code").unwrap_or_default();
    let reason: String = format!("{status} {diagnosis}").trim().chars().filter(|c| !c.is_control()).take(500).collect();
    Ok(Bounce { delivery: delivery.ok_or(Unreadable::NotOurs)?, dead: address_is_none(&reason), reason })
}

/// The server says that there is no such mailbox or host: RFC 3463 calls it 5.1.x. Anything else (full, too large,
/// suspected) may be better the next time.
pub fn address_is_none(reply: &str) -> bool {
    reply
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .any(|word| ["5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"].contains(&word.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(delivery: &str, action: &str, status: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail Returned to Sender\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\n\
             Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
             Final-Recipient: rfc822; amelie@example.com\r\nAction: {action}\r\nStatus: {status}\r\n\
             Diagnostic-Code: smtp; 550 {status} no such user\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
             From: Tourmesh <no-reply@t.example>\r\nMessage-ID: <{delivery}@t.example>\r\n\r\n--b--\r\n"
        )
    }

    #[test]
    fn a_report_names_the_delivery_and_whether_the_address_is_none() {
        let id = DeliveryId::new();
        let bounce = read(&report(&id.to_string(), "failed", "5.1.1")).unwrap();
        assert_eq!((bounce.delivery, bounce.dead), (id, true));
        assert_eq!(bounce.reason, "5.1.1 smtp; 550 5.1.1 no such user");
        assert!(!read(&report(&id.to_string(), "failed", "5.2.2")).unwrap().dead);
    }

    #[test]
    fn delays_answers_and_reports_about_others_are_none_of_ours() {
        let id = DeliveryId::new().to_string();
        assert_eq!(read(&report(&id, "delayed", "4.4.1")), Err(Unreadable::NoFailure));
        assert_eq!(read(&report("other", "failed", "5.1.1")), Err(Unreadable::NotOurs));
        assert_eq!(read("Subject: Out of office\r\n\r\nStatus: 5.1.1"), Err(Unreadable::NoFailure));
        assert!(
            address_is_none("permanent error (550): 5.1.1 <x@y>: no such user") && !address_is_none("550 5.7.1 spam")
        );
    }
}
