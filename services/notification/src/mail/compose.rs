//! One delivery as one e-mail: the same bytes whenever it is composed.

use chrono::{DateTime, Utc};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};

use super::SendError;
use crate::{
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
}

/// Composes the e-mail: text and HTML as alternatives.
///
/// # Errors
/// When the address cannot be written to.
pub fn compose(letter: Letter<'_>) -> Result<Message, SendError> {
    let never = |text: String| SendError::new(Failure::Permanent, text);
    let address: Address = letter.email.parse().map_err(|e| never(format!("the address cannot be written to: {e}")))?;
    let name = letter.name.split_whitespace().collect::<Vec<_>>().join(" ");
    let part = |kind: ContentType, body: String| SinglePart::builder().content_type(kind).body(body);
    Message::builder()
        .from(letter.from.clone())
        .to(Mailbox::new(Some(name).filter(|n| !n.is_empty()), address))
        .subject(letter.words.subject)
        .date(letter.date.into())
        .message_id(Some(format!("<{}@{}>", letter.id, letter.from.email.domain())))
        .header(AutoSubmitted)
        .header(ContentLanguage(letter.language))
        .multipart(
            MultiPart::alternative()
                .boundary(format!("=_{}", letter.id))
                .singlepart(part(ContentType::TEXT_PLAIN, letter.words.text))
                .singlepart(part(ContentType::TEXT_HTML, letter.words.html)),
        )
        .map_err(|e| never(format!("the e-mail cannot be composed: {e}")))
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
        Letter { id, from, name, email, language: Language::Fr, date: DateTime::UNIX_EPOCH, words }
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
