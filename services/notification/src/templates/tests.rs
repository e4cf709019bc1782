use super::*;
use crate::{
    domain::{
        BookingId,
        facts::{Amount, BookingFacts, Cause, Detail, Item, Part, Text},
    },
    preview,
};

fn amount(text: &str) -> Amount {
    Amount { amount: text.parse().unwrap(), currency: "EUR".to_owned() }
}

fn facts() -> BookingFacts {
    let item = |unit: &str, price: &str, voucher: &str| Item {
        unit: unit.to_owned(),
        price: amount(price),
        voucher: voucher.to_owned(),
        guest: String::new(),
    };
    BookingFacts {
        name: "Amélie <b>Durand</b>".to_owned(),
        tour: Text { en: "Banks of the Seine\r\nBcc: x@example.com".to_owned(), fr: "Rives de la Seine".to_owned() },
        option: Text { en: "Small group".to_owned(), fr: String::new() },
        items: vec![item("ADULT", "49.5", "AB-1"), item("ADULT", "49.5", "AB-2"), item("CHILD", "20", "AB-3")],
        ..preview::booking()
    }
}

fn story<'a>(booking: BookingId, facts: &'a BookingFacts, detail: &'a Detail) -> Story<'a> {
    Story { booking: Some(booking), facts: Some(facts), detail, unsubscribe: "", pictures: false }
}

#[test]
fn every_message_has_every_part_in_every_language_of_its_own() {
    let environment = ready().unwrap();
    for kind in Kind::ALL {
        for language in Language::ALL {
            for part in PARTS {
                let name = format!("{}/{}/{part}", kind.as_str().to_lowercase(), language.as_str());
                assert!(environment.get_template(&name).is_ok(), "{name} is missing");
            }
        }
    }
    let count = Kind::ALL.len() * Language::ALL.len() * PARTS.len();
    assert_eq!(MESSAGES.iter().flatten().count(), count, "and there is none that nobody reads");
}

/// Every branch of every template, in both languages: strict mode refuses a variable that is not there.
#[test]
fn every_template_renders_in_both_languages_and_every_branch() {
    let booking = BookingId::new();
    let mut rendered = 0;
    for kind in Kind::ALL.iter().filter(|k| **k != Kind::WebhookDisabled) {
        for language in Language::ALL {
            for (refund, difference, pay_on_arrival) in [
                (None, None, true),
                (None, Some(amount("12")), true),
                (Some(amount("0")), Some(amount("-5")), false),
                (Some(amount("60")), Some(amount("-60")), false),
            ] {
                for cause in [Cause::Traveller, Cause::Supplier, Cause::Departure] {
                    for (unsubscribe, bare) in [("", false), ("https://t.example/u/1", true)] {
                        let detail = Detail {
                            refund: refund.clone(),
                            difference: difference.clone(),
                            cause,
                            amount: Some(amount("119")),
                            ..if bare { Detail::default() } else { preview::detail(*kind) }
                        };
                        let paid = (!pay_on_arrival).then(|| amount("119"));
                        let mut facts = BookingFacts { pay_on_arrival, paid, ..facts() };
                        if bare {
                            facts.taxes.clear();
                            facts.payment.clear();
                            facts.duration_minutes = 0;
                        }
                        let story = Story { unsubscribe, pictures: bare, ..story(booking, &facts, &detail) };
                        let words = write(*kind, *language, &story).unwrap();
                        let (title, short) = write_short(*kind, *language, &story).unwrap();
                        rendered += 1;
                        assert_eq!(title, words.subject);
                        assert!(!words.subject.contains(['\r', '\n']) && !short.contains('\n'), "{}", words.subject);
                        assert!(short.contains(&booking.to_string()) && short.chars().count() <= 306, "{short}");
                        assert!(!words.text.contains("\n\n\n"), "{}", words.text);
                        for body in [&words.text, &words.html] {
                            assert!(body.contains(&booking.to_string()), "{body}");
                            assert!(body.replace("&#x2f;", "/").contains("Europe/Paris"), "{body}");
                            assert!(!body.contains("{{") && !body.contains("{%"), "{body}");
                            let way_out = body.replace("&#x2f;", "/").contains("https://t.example/u/1");
                            assert_eq!(way_out, !unsubscribe.is_empty(), "{kind:?} {body}");
                        }
                        assert!(!words.html.contains("<b>Durand") && words.html.contains("&lt;b&gt;Durand"));
                        assert!(words.text.contains("Amélie <b>Durand</b>"));
                        assert_eq!(words.html.matches("<table").count(), words.html.matches("</table>").count());
                        let mut shown = kind.carries_ticket();
                        shown &= bare;
                        assert_eq!(words.html.contains("cid:voucher-2"), shown, "{}", words.html);
                    }
                }
            }
        }
    }
    assert_eq!(rendered, 10 * 2 * 4 * 3 * 2);
    for language in Language::ALL {
        let detail = preview::detail(Kind::WebhookDisabled);
        let story = Story { booking: None, facts: None, detail: &detail, unsubscribe: "", pictures: false };
        let words = write(Kind::WebhookDisabled, *language, &story).unwrap();
        assert!(words.text.contains("https://shop.example/hooks/tourmesh") && words.text.contains("503"));
    }
}

#[test]
fn a_confirmation_names_price_vouchers_and_local_time_in_the_persons_language() {
    let (booking, facts, detail) = (BookingId::new(), facts(), Detail::default());
    let story = story(booking, &facts, &detail);
    let french = write(Kind::BookingConfirmed, Language::Fr, &story).unwrap();
    assert_eq!(french.subject, "Réservation confirmée : Rives de la Seine, vendredi 1er janvier 2027 à 09:00");
    for part in ["119,00\u{a0}€", "2 × Adulte (49,50\u{a0}€)", "1 × Enfant", "AB-3", "Small group"] {
        assert!(french.text.contains(part), "{part} in {}", french.text);
    }
    for part in ["119,00\u{a0}€", "2 × Adulte", "AB-3"] {
        assert!(french.html.contains(part), "{part} in {}", french.html);
    }
    let english = write(Kind::BookingConfirmed, Language::En, &story).unwrap();
    for part in ["€119.00", "2 × Adult (€49.50)", "Friday, 1 January 2027 at 09:00"] {
        assert!(english.text.contains(part), "{part} in {}", english.text);
    }
}

/// The receipt and the confirmation tell the same of what was paid, word for word.
#[test]
fn what_was_paid_is_told_with_its_taxes_and_their_shares() {
    let (booking, facts, detail) = (BookingId::new(), facts(), preview::detail(Kind::Receipt));
    let story = story(booking, &facts, &detail);
    let english = [
        "Total:    €119.00 (a discount of €5.00 is taken off)\n  without taxes: €102.73",
        "incl. VAT 10%: €10.27\n  incl. City tax: €6.00",
        "Paid:     €119.00\nPaid on:  Saturday, 21 November 2026 at 10:59\nPayment:  pay_0199",
    ];
    let french = [
        "Total :        119,00\u{a0}€ (remise de 5,00\u{a0}€ déduite)\n  hors taxes : 102,73\u{a0}€",
        "dont TVA 10\u{202f}% : 10,27\u{a0}€\n  dont Taxe de séjour : 6,00\u{a0}€",
        "Payé :         119,00\u{a0}€\nPayé le :      samedi 21 novembre 2026 à 10:59\nPaiement :     pay_0199",
    ];
    let rows = [
        ["Discount", "€5.00", "Without taxes", "incl. VAT 10%", "incl. City tax", "€6.00", "Paid on", "pay_0199"],
        [
            "Remise",
            "5,00\u{a0}€",
            "Hors taxes",
            "dont TVA 10\u{202f}%",
            "dont Taxe de séjour",
            "Payé",
            "Payé le",
            "pay_0199",
        ],
    ];
    for kind in [Kind::Receipt, Kind::BookingConfirmed] {
        for ((language, text), rows) in [(Language::En, english), (Language::Fr, french)].into_iter().zip(rows) {
            let made = write(kind, language, &story).unwrap();
            text.iter().for_each(|part| assert!(made.text.contains(part), "{part} in {}", made.text));
            rows.iter().for_each(|part| assert!(made.html.contains(part), "{part} in {}", made.html));
        }
    }
}

#[test]
fn a_confirmation_is_a_receipt_only_of_what_was_paid() {
    let (booking, detail) = (BookingId::new(), Detail::default());
    let made =
        |facts: &BookingFacts, language| write(Kind::BookingConfirmed, language, &story(booking, facts, &detail));
    let unpaid = [None, Some(amount("0"))].map(|paid| BookingFacts { paid, payment: String::new(), ..facts() });
    let on_arrival = BookingFacts { pay_on_arrival: true, ..unpaid[0].clone() };
    for (language, heading, text) in [(Language::En, "Receipt</h2>", "RECEIPT"), (Language::Fr, "Reçu</h2>", "REÇU")]
    {
        let paid = made(&facts(), language).unwrap();
        assert!(paid.html.contains(heading) && paid.text.contains(text), "{}", paid.text);
        assert!(
            paid.subject
                .starts_with(["Booking confirmed", "Réservation confirmée"][usize::from(language == Language::Fr)])
        );
        for facts in unpaid.iter().chain([&on_arrival]) {
            let unpaid = made(facts, language).unwrap();
            for none in [heading, text, "Paid", "Payé", "VAT", "TVA", "pay_0199"] {
                assert!(!unpaid.html.contains(none) && !unpaid.text.contains(none), "{none} in {}", unpaid.text);
            }
        }
    }
}

#[test]
fn a_move_tells_old_time_and_difference() {
    let (booking, facts, detail) = (BookingId::new(), facts(), preview::detail(Kind::BookingRescheduled));
    let english = write(Kind::BookingRescheduled, Language::En, &story(booking, &facts, &detail)).unwrap();
    for part in ["Thursday, 31 December 2026 at 14:30", "costs €30.00 less", "We give back €30.00"] {
        assert!(english.text.contains(part), "{part} in {}", english.text);
    }
    let dearer = Detail { difference: Some(amount("12")), ..Detail::default() };
    let arrival = BookingFacts { pay_on_arrival: true, ..facts.clone() };
    let french = write(Kind::BookingRescheduled, Language::Fr, &story(booking, &arrival, &dearer)).unwrap();
    assert!(french.text.contains("coûte 12,00\u{a0}€ de plus, à régler sur place"), "{}", french.text);
}

#[test]
fn a_receipt_of_a_part_tells_its_own_payment_and_taxes_and_none_of_the_whole() {
    let (booking, facts) = (BookingId::new(), facts());
    let part = Part { payment: "pay_of_the_move".to_owned(), amount: amount("30"), tax: Some(amount("2.73")) };
    let detail = Detail { part: Some(part), ..preview::detail(Kind::Receipt) };
    let words = [
        (Language::En, ["pay_of_the_move", "€30.00", "€2.73"]),
        (Language::Fr, ["pay_of_the_move", "30,00\u{a0}€", "2,73\u{a0}€"]),
    ];
    for (language, parts) in words {
        let receipt = write(Kind::Receipt, language, &story(booking, &facts, &detail)).unwrap();
        for body in [&receipt.text, &receipt.html] {
            for part in parts {
                assert!(body.contains(part), "{part} in {body}");
            }
            for tax in &facts.taxes {
                assert!(!body.contains(tax.name.shown_in(language)), "{} in {body}", tax.name.en);
            }
            assert!(!body.contains(&facts.payment), "{body}");
        }
    }
}

#[test]
fn an_offer_says_why_its_promo_code_does_not_count() {
    let (booking, facts) = (BookingId::new(), facts());
    for (refusal, english, french) in [
        ("PROMO_CODE_USED_UP", "has been used up meanwhile", "est épuisé"),
        ("PROMO_CODE_ENDED", "has ended meanwhile", "n’est plus valable"),
        ("PROMO_CODE_NOT_APPLICABLE", "does not count on this date", "ne s’applique pas à cette date"),
    ] {
        let detail = Detail {
            promo_code: "SUMMER".to_owned(),
            promo_refusal: refusal.to_owned(),
            ..preview::detail(Kind::WaitingListOffer)
        };
        for (language, words) in [(Language::En, english), (Language::Fr, french)] {
            let made = write(Kind::WaitingListOffer, language, &story(booking, &facts, &detail)).unwrap();
            for body in [&made.text, &made.html] {
                assert!(body.contains("SUMMER") && body.contains(words), "{words} in {body}");
            }
        }
    }
    let none = preview::detail(Kind::WaitingListOffer);
    let made = write(Kind::WaitingListOffer, Language::En, &story(booking, &facts, &none)).unwrap();
    assert!(!made.text.contains("promo code") && !made.html.contains("promo code"), "{}", made.text);
}

#[test]
fn a_part_that_a_language_lacks_is_taken_from_english() {
    let only_english =
        SHARED.iter().chain(MESSAGES.iter().flatten()).filter(|(name, _)| *name != "receipt/fr/body.txt");
    let environment = environment(only_english).unwrap();
    let (booking, facts, detail) = (BookingId::new(), facts(), Detail::default());
    let view = view::view(Language::Fr, &story(booking, &facts, &detail));
    let of = |part| render(&environment, Kind::Receipt, Language::Fr, part, &view).unwrap();
    assert!(of("body.txt").contains("This is your receipt") && of("body.html").contains("Voici votre reçu"));
}

#[test]
fn every_preview_can_be_made_and_holds_what_its_kind_promises() {
    for kind in Kind::ALL {
        for language in Language::ALL {
            let files = preview::files(*kind, *language).unwrap();
            let has = |end: &str| files.iter().any(|f| f.name.ends_with(end));
            assert!(has(".txt") && has(".html") && has(".eml") && has(".short.txt"));
            assert_eq!((has(".pdf"), has(".ics")), (kind.carries_ticket(), kind.carries_calendar()), "{kind:?}");
            let eml = files.iter().find(|f| f.name.ends_with(".eml")).unwrap();
            assert!(eml.content.len() < 100_000, "{kind:?} has {} bytes", eml.content.len());
        }
    }
}
