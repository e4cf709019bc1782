//! One delivery as one e-mail: the same bytes whenever it is composed.

use chrono::{DateTime, Utc};
use lettre::{
    Address, Message,
    message::{
        Attachment, Mailbox, MultiPart, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};

use super::{Enclosed, encoding};
use crate::{
    courier::SendError,
    domain::{DeliveryId, message::Language, retry::Failure},
    templates::Words,
};

/// What an e-mail is made of.
pub struct Letter<'a> {
    /// Shapes the Message-ID and the MIME boundary.
    pub id: DeliveryId,
    /// The sender.
    pub from: &'a Mailbox,
    /// The reader's name.
    pub name: &'a str,
    /// The reader's address.
    pub email: &'a str,
    /// What language it is in.
    pub language: Language,
    /// When it was asked for; the e-mail's date.
    pub date: DateTime<Utc>,
    /// What it says.
    pub words: Words,
    /// What it carries.
    pub enclosed: Enclosed,
    /// Where messages of this kind are stopped with one request; empty: they are not.
    pub unsubscribe: &'a str,
}

/// More than this is never sent: mail servers refuse what is larger than some 10 MB, and people what is larger than that.
pub const LARGEST: usize = 2_000_000;

/// Composes the e-mail: text and HTML with its pictures as alternatives, then the attachments.
///
/// # Errors
/// When the address cannot be written to, or the e-mail is too large.
pub fn compose(letter: Letter<'_>) -> Result<Message, SendError> {
    let never = |text: String| SendError::new(Failure::Permanent, text);
    let address: Address = letter.email.parse().map_err(|e| never(format!("the address cannot be written to: {e}")))?;
    let name = letter.name.split_whitespace().collect::<Vec<_>>().join(" ");
    let Enclosed { pictures, calendar, ticket } = letter.enclosed;
    let size = letter.words.text.len()
        + letter.words.html.len()
        + pictures.iter().map(|(_, p)| p.len()).sum::<usize>()
        + ticket.as_ref().map_or(0, Vec::len);
    if size > LARGEST {
        return Err(never(format!("the e-mail has {size} bytes, which is more than {LARGEST}")));
    }
    let id = letter.id;
    let part = |kind: ContentType, body: String| SinglePart::builder().content_type(kind).body(body);
    let alternatives = MultiPart::alternative()
        .boundary(format!("=_{id}"))
        .singlepart(part(ContentType::TEXT_PLAIN, letter.words.text));
    let html = part(ContentType::TEXT_HTML, letter.words.html);
    let alternatives = if pictures.is_empty() {
        alternatives.singlepart(html)
    } else {
        let related = MultiPart::related().boundary(format!("=_r_{id}")).singlepart(html);
        let png = kind("image/png")?;
        let shown = |all: MultiPart, (id, picture): (String, Vec<u8>)| {
            all.singlepart(Attachment::new_inline(id).body(encoding::file(&picture), png.clone()))
        };
        alternatives.multipart(pictures.into_iter().fold(related, shown))
    };
    let mut attached = Vec::new();
    if let Some(ticket) = ticket {
        let name = match letter.language {
            Language::En => "ticket.pdf",
            Language::Fr => "billet.pdf",
        };
        attached.push(Attachment::new(name.to_owned()).body(encoding::file(&ticket), kind("application/pdf")?));
    }
    if let Some(event) = calendar {
        let kind = kind("text/calendar; charset=utf-8; method=PUBLISH")?;
        attached.push(Attachment::new("tour.ics".to_owned()).body(event, kind));
    }
    let mut message = Message::builder()
        .from(letter.from.clone())
        .to(Mailbox::new(Some(name).filter(|n| !n.is_empty()), address))
        .subject(letter.words.subject)
        .date(letter.date.into())
        .message_id(Some(format!("<{id}@{}>", letter.from.email.domain())))
        .header(AutoSubmitted)
        .header(ContentLanguage(letter.language));
    if !letter.unsubscribe.is_empty() {
        message = message.header(ListUnsubscribe(format!("<{}>", letter.unsubscribe))).header(ListUnsubscribePost);
    }
    let composed = if attached.is_empty() {
        message.multipart(alternatives)
    } else {
        let mixed = MultiPart::mixed().boundary(format!("=_m_{id}")).multipart(alternatives);
        message.multipart(attached.into_iter().fold(mixed, MultiPart::singlepart))
    };
    composed.map_err(|e| never(format!("the e-mail cannot be composed: {e}")))
}

fn kind(text: &str) -> Result<ContentType, SendError> {
    ContentType::parse(text).map_err(|e| SendError::new(Failure::Permanent, format!("{text}: {e}")))
}

/// Where one request without questions stops such messages (RFC 2369, RFC 8058).
#[derive(Clone)]
struct ListUnsubscribe(String);

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }
    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

/// The request is a POST with this body.
#[derive(Clone)]
struct ListUnsubscribePost;

impl Header for ListUnsubscribePost {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}

/// Tells auto-responders not to answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The language of the text, for readers and screen readers.
#[derive(Clone)]
struct ContentLanguage(Language);

impl Header for ContentLanguage {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Content-Language")
    }
    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Language::of_str(text).map(Self).ok_or_else(|| "not a language of ours".into())
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<'a>(id: DeliveryId, from: &'a Mailbox, name: &'a str, email: &'a str) -> Letter<'a> {
        let words =
            Words { subject: "Réservé".to_owned(), text: "texte é".to_owned(), html: "<p>é</p>".to_owned() };
        let enclosed = Enclosed::default();
        Letter {
            id,
            from,
            name,
            email,
            language: Language::Fr,
            date: DateTime::UNIX_EPOCH,
            words,
            enclosed,
            unsubscribe: "",
        }
    }

    #[test]
    fn the_same_delivery_is_the_same_e_mail_to_the_byte() {
        let from: Mailbox = "Tourmesh <no-reply@tourmesh.example>".parse().unwrap();
        let id = DeliveryId::new();
        let made = || compose(letter(id, &from, "Zoë\r\nBcc: x@y.z", "zoe@example.com")).unwrap().formatted();
        assert_eq!(made(), made());
        let text = String::from_utf8(made()).unwrap();
        assert!(text.contains(&format!("Message-ID: <{id}@tourmesh.example>")), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated") && text.contains("Content-Language: fr"), "{text}");
        assert!(text.contains("text/plain") && text.contains("text/html"), "{text}");
        assert!(!text.lines().any(|l| l.starts_with("Bcc")), "{text}");
    }

    #[test]
    fn attachments_pictures_and_the_way_out_are_where_programs_look_for_them() {
        let from: Mailbox = "a@b.example".parse().unwrap();
        let id = DeliveryId::new();
        let made = |ticket: usize| {
            let mut letter = letter(id, &from, "Zoë", "zoe@example.com");
            letter.enclosed = Enclosed {
                pictures: vec![("voucher-0".to_owned(), vec![1, 2, 3])],
                calendar: Some("BEGIN:VCALENDAR\r\nSUMMARY:é\r\nEND:VCALENDAR\r\n".to_owned()),
                ticket: Some(vec![7; ticket]),
            };
            letter.unsubscribe = "https://t.example/unsubscribe/abc";
            compose(letter).map(|m| String::from_utf8(m.formatted()).unwrap())
        };
        let text = made(900).unwrap();
        assert_eq!(Ok(text.clone()), made(900));
        let order = [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "application/pdf",
            "text/calendar; charset=utf-8; method=PUBLISH",
        ];
        let places: Vec<_> =
            order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"))).collect();
        assert!(places.is_sorted(), "{places:?}");
        for part in [
            "Content-ID: <voucher-0>",
            "filename=\"billet.pdf\"",
            "filename=\"tour.ics\"",
            "List-Unsubscribe: <https://t.example/unsubscribe/abc>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(made(LARGEST).unwrap_err().failure, Failure::Permanent);
    }

    #[test]
    fn an_address_that_is_none_is_a_permanent_failure() {
        let from: Mailbox = "a@b.example".parse().unwrap();
        for wrong in ["", "nobody", "a@b@c", "a b@c.example", "a@b.example\r\nDATA"] {
            let Err(error) = compose(letter(DeliveryId::new(), &from, "", wrong)) else {
                panic!("{wrong:?} was accepted")
            };
            assert_eq!(error.failure, Failure::Permanent);
        }
    }
}
