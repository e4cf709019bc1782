//! Facts put into words: one folder per message and language, each with a subject, a text and an HTML body.
//!
//! The templates are part of the binary. They get strings that are formatted for the language already, so that they hold
//! words and nothing else; a variable that does not exist is an error, and HTML escapes whatever comes from people.

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use crate::domain::{
    BookingId,
    facts::{Amount, BookingFacts, Cause, Detail},
    locale,
    message::{Kind, Language},
};

macro_rules! folder {
    ($folder:literal) => {
        [
            folder!($folder, "en", "subject.txt"),
            folder!($folder, "en", "body.txt"),
            folder!($folder, "en", "body.html"),
            folder!($folder, "fr", "subject.txt"),
            folder!($folder, "fr", "body.txt"),
            folder!($folder, "fr", "body.html"),
        ]
    };
    ($folder:literal, $language:literal, $file:literal) => {
        (
            concat!($folder, "/", $language, "/", $file),
            include_str!(concat!("../templates/", $folder, "/", $language, "/", $file)),
        )
    };
}

const SHARED: [(&str, &str); 2] = [
    ("layout.html", include_str!("../templates/layout.html")),
    ("parts.html", include_str!("../templates/parts.html")),
];
const MESSAGES: [[(&str, &str); 6]; 3] =
    [folder!("booking_confirmed"), folder!("booking_cancelled"), folder!("payment_failed")];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    for (name, source) in SHARED.iter().chain(MESSAGES.iter().flatten()) {
        environment.add_template(name, source)?;
    }
    Ok(environment)
});

/// A message in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub subject: String,
    /// For those who read text.
    pub text: String,
    /// For those who read HTML.
    pub html: String,
}

/// A template does not fit its facts: a defect of ours.
#[derive(Debug, thiserror::Error)]
#[error("the template does not render: {0}")]
pub struct RenderError(String);

/// Writes a message.
///
/// # Errors
/// When a template does not fit; the tests render every one of them.
pub fn write(
    kind: Kind,
    language: Language,
    booking: BookingId,
    facts: &BookingFacts,
    detail: &Detail,
) -> Result<Words, RenderError> {
    let environment = ENVIRONMENT.as_ref().map_err(|e| RenderError(format!("{e:#}")))?;
    let folder = match kind {
        Kind::BookingConfirmed => "booking_confirmed",
        Kind::BookingCancelled => "booking_cancelled",
        Kind::PaymentFailed => "payment_failed",
    };
    let view = view(language, booking, facts, detail);
    let render = |file: &str| {
        let template = environment.get_template(&format!("{folder}/{}/{file}", language.as_str()));
        template.and_then(|t| t.render(view.clone())).map_err(|e| RenderError(format!("{e:#}")))
    };
    // A title with a line break must not end the header.
    let subject = render("subject.txt")?.split_whitespace().collect::<Vec<_>>().join(" ");
    // The engine drops the last line break of a template.
    Ok(Words { subject, text: render("body.txt")? + "\n", html: render("body.html")? + "\n" })
}

/// What templates see. Every variable is always there; what does not apply is empty.
fn view(language: Language, booking: BookingId, facts: &BookingFacts, detail: &Detail) -> Value {
    let shown = |amount: Option<&Amount>| amount.map(|a| locale::money(a, language)).unwrap_or_default();
    let vouchers = facts.items.iter().filter(|i| !i.voucher.is_empty());
    context! {
        language => language.as_str(),
        name => facts.name.as_str(),
        booking => booking.to_string(),
        tour => facts.tour.shown_in(language),
        option => facts.option.shown_in(language),
        starts => locale::date_time(&facts.local_start, language),
        time_zone => facts.time_zone.as_str(),
        duration => locale::duration(facts.duration_minutes, language),
        items => items(facts, language),
        vouchers => vouchers
            .map(|i| context! { unit => locale::unit(&i.unit, language), code => i.voucher.as_str() })
            .collect::<Vec<Value>>(),
        total => locale::money(&facts.total, language),
        pay_on_arrival => facts.pay_on_arrival,
        refund => shown(detail.refund.as_ref().filter(|r| !r.amount.is_zero())),
        cause => match detail.cause {
            Cause::Traveller => "TRAVELLER",
            Cause::Supplier => "SUPPLIER",
            Cause::Departure => "DEPARTURE",
        },
        amount => shown(detail.amount.as_ref()),
    }
}

/// Guests of one unit and price in one line, in the order of the booking.
fn items(facts: &BookingFacts, language: Language) -> Vec<Value> {
    let mut lines: Vec<(usize, &str, String)> = Vec::new();
    for item in &facts.items {
        let (unit, price) = (locale::unit(&item.unit, language), locale::money(&item.price, language));
        match lines.iter_mut().find(|(_, u, p)| *u == unit && *p == price) {
            Some((count, ..)) => *count += 1,
            None => lines.push((1, unit, price)),
        }
    }
    lines.into_iter().map(|(count, unit, price)| context! { count, unit, price }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::facts::{Item, Text};

    fn amount(text: &str) -> Amount {
        Amount { amount: text.parse().unwrap(), currency: "EUR".to_owned() }
    }

    fn facts() -> BookingFacts {
        let item = |unit: &str, price: &str, voucher: &str| Item {
            unit: unit.to_owned(),
            price: amount(price),
            voucher: voucher.to_owned(),
        };
        BookingFacts {
            name: "Amélie <b>Durand</b>".to_owned(),
            tour: Text {
                en: "Banks of the Seine\r\nBcc: x@example.com".to_owned(),
                fr: "Rives de la Seine".to_owned(),
            },
            option: Text { en: "Small group".to_owned(), fr: String::new() },
            local_start: "2027-01-01T09:00".to_owned(),
            time_zone: "Europe/Paris".to_owned(),
            duration_minutes: 150,
            items: vec![item("ADULT", "49.5", "AB-1"), item("ADULT", "49.5", "AB-2"), item("CHILD", "20", "AB-3")],
            total: amount("119"),
            pay_on_arrival: false,
        }
    }

    /// Every branch of every template, in both languages: strict mode refuses a variable that is not there.
    #[test]
    fn every_template_renders_in_both_languages_and_every_branch() {
        let booking = BookingId::new();
        for kind in Kind::ALL {
            for language in Language::ALL {
                for (refund, pay_on_arrival) in [(None, true), (Some(amount("0")), false), (Some(amount("60")), false)]
                {
                    for cause in [Cause::Traveller, Cause::Supplier, Cause::Departure] {
                        let detail =
                            Detail { refund: refund.clone(), cause, amount: Some(amount("119")), ..Detail::default() };
                        let facts = BookingFacts { pay_on_arrival, ..facts() };
                        let words = write(*kind, *language, booking, &facts, &detail).unwrap();
                        assert!(!words.subject.contains(['\r', '\n']), "{}", words.subject);
                        for body in [&words.text, &words.html] {
                            assert!(
                                body.contains(&booking.to_string())
                                    && body.replace("&#x2f;", "/").contains("Europe/Paris"),
                                "{body}"
                            );
                            assert!(!body.contains("{{") && !body.contains("{%"), "{body}");
                        }
                        assert!(!words.html.contains("<b>Durand") && words.html.contains("&lt;b&gt;Durand"));
                        assert!(words.text.contains("Amélie <b>Durand</b>"));
                        assert_eq!(words.html.matches("<table").count(), words.html.matches("</table>").count());
                    }
                }
            }
        }
    }

    #[test]
    fn a_confirmation_names_price_vouchers_and_local_time_in_the_persons_language() {
        let booking = BookingId::new();
        let french = write(Kind::BookingConfirmed, Language::Fr, booking, &facts(), &Detail::default()).unwrap();
        assert_eq!(french.subject, "Réservation confirmée : Rives de la Seine, vendredi 1er janvier 2027 à 09:00");
        for part in ["119,00\u{a0}€", "2 × Adulte (49,50\u{a0}€)", "1 × Enfant", "AB-3", "Small group"] {
            assert!(french.text.contains(part), "{part} in {}", french.text);
        }
        for part in ["119,00\u{a0}€", "2 × Adulte", "AB-3"] {
            assert!(french.html.contains(part), "{part} in {}", french.html);
        }
        let english = write(Kind::BookingConfirmed, Language::En, booking, &facts(), &Detail::default()).unwrap();
        for part in ["€119.00", "2 × Adult (€49.50)", "Friday, 1 January 2027 at 09:00"] {
            assert!(english.text.contains(part), "{part} in {}", english.text);
        }
    }

    /// `cargo test -p tourmesh-notification -- --ignored samples` writes every message to the directory in SAMPLES.
    #[test]
    #[ignore = "writes files for people to look at"]
    fn samples() {
        let dir = std::path::PathBuf::from(std::env::var("SAMPLES").unwrap());
        let facts = BookingFacts { name: "Amélie Durand".to_owned(), ..facts() };
        for kind in Kind::ALL {
            for language in Language::ALL {
                let detail = Detail { refund: Some(amount("60")), amount: Some(amount("119")), ..Detail::default() };
                let words = write(*kind, *language, BookingId::new(), &facts, &detail).unwrap();
                let name = format!("{}_{}", kind.as_str().to_lowercase(), language.as_str());
                std::fs::write(dir.join(format!("{name}.html")), words.html).unwrap();
                std::fs::write(dir.join(format!("{name}.txt")), format!("{}\n\n{}", words.subject, words.text))
                    .unwrap();
            }
        }
    }
}
