//! Money, dates and durations as people of a language write them. The forms are those of CLDR (English, French).

use chrono::{Datelike as _, NaiveDateTime, Timelike as _};
use kit::money::{Currency, Money};
use tourmesh_kit as kit;

use rust_decimal::Decimal;

use super::{
    facts::{Amount, local_time},
    message::Language,
};

/// No-break space, and its narrow sister, with which French groups digits.
const NBSP: &str = "\u{a0}";
const NARROW: &str = "\u{202f}";

/// Currencies that people know by a symbol: the code, the English symbol, the French one. All others show their code.
const SYMBOLS: &[(&str, &str, &str)] = &[
    ("EUR", "€", "€"),
    ("USD", "$", "$US"),
    ("GBP", "£", "£GB"),
    ("JPY", "¥", "JPY"),
    ("CAD", "CA$", "$CA"),
    ("AUD", "A$", "$AU"),
    ("NZD", "NZ$", "$NZ"),
    ("MXN", "MX$", "$MX"),
    ("BRL", "R$", "R$"),
    ("CNY", "CN¥", "CNY"),
    ("INR", "₹", "₹"),
    ("KRW", "₩", "₩"),
    ("ILS", "₪", "₪"),
    ("VND", "₫", "₫"),
];

/// `€1,234.50`, `1 234,50 €`.
pub fn money(amount: &Amount, language: Language) -> String {
    let Ok(currency) = amount.currency.parse::<Currency>() else {
        return format!("{} {}", amount.amount, amount.currency);
    };
    let money = Money::new(amount.amount, currency).rounded();
    let digits = usize::try_from(currency.minor_digits()).unwrap_or(2);
    let plain = format!("{:.*}", digits, money.amount().abs());
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let sign = if money.amount().is_sign_negative() && !money.is_zero() { "-" } else { "" };
    let code = currency.as_str();
    let symbols = SYMBOLS.iter().find(|(c, ..)| *c == code);
    match language {
        Language::En => {
            let whole = grouped(whole, ",");
            let point = if fraction.is_empty() { "" } else { "." };
            match symbols {
                Some((_, symbol, _)) => format!("{sign}{symbol}{whole}{point}{fraction}"),
                None => format!("{sign}{code}{NBSP}{whole}{point}{fraction}"),
            }
        }
        Language::Fr => {
            let whole = grouped(whole, NARROW);
            let point = if fraction.is_empty() { "" } else { "," };
            let symbol = symbols.map_or(code, |(_, _, symbol)| symbol);
            format!("{sign}{whole}{point}{fraction}{NBSP}{symbol}")
        }
    }
}

fn grouped(digits: &str, separator: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push_str(separator);
        }
        text.push(digit);
    }
    text
}

const DAYS: [(&str, &str); 7] = [
    ("Monday", "lundi"),
    ("Tuesday", "mardi"),
    ("Wednesday", "mercredi"),
    ("Thursday", "jeudi"),
    ("Friday", "vendredi"),
    ("Saturday", "samedi"),
    ("Sunday", "dimanche"),
];
const MONTHS: [(&str, &str); 12] = [
    ("January", "janvier"),
    ("February", "février"),
    ("March", "mars"),
    ("April", "avril"),
    ("May", "mai"),
    ("June", "juin"),
    ("July", "juillet"),
    ("August", "août"),
    ("September", "septembre"),
    ("October", "octobre"),
    ("November", "novembre"),
    ("December", "décembre"),
];

/// A local start such as `2027-01-01T09:00`: `Friday, 1 January 2027 at 09:00`, `vendredi 1er janvier 2027 à 09:00`. What
/// is no date-time is shown as it came.
pub fn date_time(local: &str, language: Language) -> String {
    local_time(local).map_or_else(|| local.to_owned(), |at| written(at, language))
}

fn written(at: NaiveDateTime, language: Language) -> String {
    let day = DAYS[at.weekday().num_days_from_monday() as usize];
    let month = MONTHS[at.month0() as usize];
    let (year, hour, minute) = (at.year(), at.hour(), at.minute());
    match language {
        Language::En => format!("{}, {} {} {year} at {hour:02}:{minute:02}", day.0, at.day(), month.0),
        Language::Fr => {
            let ordinal = if at.day() == 1 { "er" } else { "" };
            format!("{} {}{ordinal} {} {year} à {hour:02}:{minute:02}", day.1, at.day(), month.1)
        }
    }
}

/// `01/01 09:00` of a telephone: the day, the month and the time without words.
pub fn short_date_time(local: &str, language: Language) -> String {
    let Some(at) = local_time(local) else { return local.to_owned() };
    let month = MONTHS[at.month0() as usize];
    let (day, hour, minute) = (at.day(), at.hour(), at.minute());
    match language {
        Language::En => format!("{day} {}, {hour:02}:{minute:02}", month.0),
        Language::Fr => format!("{day}{} {} à {hour:02}:{minute:02}", if day == 1 { "er" } else { "" }, month.1),
    }
}

/// `5.5%`, `5,5 %`.
pub fn percent(share: Decimal, language: Language) -> String {
    let plain = share.normalize().to_string();
    match language {
        Language::En => format!("{plain}%"),
        Language::Fr => format!("{}{NARROW}%", plain.replace('.', ",")),
    }
}

/// The form of a word that goes with a number, as CLDR has it: in French nought is singular too.
pub fn plural<'a>(count: usize, one: &'a str, many: &'a str, language: Language) -> &'a str {
    let singular = match language {
        Language::En => count == 1,
        Language::Fr => count < 2,
    };
    if singular { one } else { many }
}

/// `2 hours 30 minutes`, `1 jour`. Empty for nothing.
pub fn duration(minutes: i32, language: Language) -> String {
    let (days, hours, rest) = (minutes / 1440, minutes % 1440 / 60, minutes % 60);
    let words = match language {
        Language::En => [("day", "days"), ("hour", "hours"), ("minute", "minutes")],
        Language::Fr => [("jour", "jours"), ("heure", "heures"), ("minute", "minutes")],
    };
    let parts: Vec<String> = [days, hours, rest]
        .into_iter()
        .zip(words)
        .filter(|(n, _)| *n > 0)
        .map(|(n, (one, many))| {
            let count = usize::try_from(n).unwrap_or_default();
            format!("{n}{NBSP}{}", plural(count, one, many, language))
        })
        .collect();
    parts.join(" ")
}

/// The name of a unit: `Adult`, `Adulte`.
pub fn unit(unit: &str, language: Language) -> &'static str {
    let (en, fr) = match unit {
        "ADULT" => ("Adult", "Adulte"),
        "YOUTH" => ("Youth", "Jeune"),
        "CHILD" => ("Child", "Enfant"),
        "INFANT" => ("Infant", "Bébé"),
        "FAMILY" => ("Family", "Famille"),
        "SENIOR" => ("Senior", "Sénior"),
        "STUDENT" => ("Student", "Étudiant"),
        "MILITARY" => ("Military", "Militaire"),
        _ => ("Guest", "Participant"),
    };
    match language {
        Language::En => en,
        Language::Fr => fr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(amount: &str, currency: &str) -> (String, String) {
        let amount = Amount { amount: amount.parse().unwrap(), currency: currency.to_owned() };
        (money(&amount, Language::En), money(&amount, Language::Fr))
    }

    /// The expected texts are what ICU 78 (CLDR 48) writes.
    #[test]
    fn money_is_written_as_cldr_writes_it() {
        for (amount, currency, en, fr) in [
            ("1234.5", "EUR", "€1,234.50", "1\u{202f}234,50\u{a0}€"),
            ("-1234.5", "EUR", "-€1,234.50", "-1\u{202f}234,50\u{a0}€"),
            ("1234567.5", "USD", "$1,234,567.50", "1\u{202f}234\u{202f}567,50\u{a0}$US"),
            ("12", "GBP", "£12.00", "12,00\u{a0}£GB"),
            ("1234", "JPY", "¥1,234", "1\u{202f}234\u{a0}JPY"),
            ("1234.5", "CHF", "CHF\u{a0}1,234.50", "1\u{202f}234,50\u{a0}CHF"),
            ("1.5", "KWD", "KWD\u{a0}1.500", "1,500\u{a0}KWD"),
            ("3", "VND", "₫3", "3\u{a0}₫"),
            ("0", "EUR", "€0.00", "0,00\u{a0}€"),
            ("100", "MAD", "MAD\u{a0}100.00", "100,00\u{a0}MAD"),
        ] {
            assert_eq!(shown(amount, currency), (en.to_owned(), fr.to_owned()), "{amount} {currency}");
        }
    }

    #[test]
    fn dates_are_local_and_in_the_persons_words() {
        assert_eq!(date_time("2027-01-01T09:00", Language::En), "Friday, 1 January 2027 at 09:00");
        assert_eq!(date_time("2027-01-01T09:00", Language::Fr), "vendredi 1er janvier 2027 à 09:00");
        assert_eq!(date_time("2026-08-16T18:30:00", Language::Fr), "dimanche 16 août 2026 à 18:30");
        assert_eq!(date_time("soon", Language::En), "soon");
        assert_eq!(short_date_time("2027-07-01T23:30", Language::Fr), "1er juillet à 23:30");
        assert_eq!(short_date_time("2027-07-01T23:30", Language::En), "1 July, 23:30");
    }

    #[test]
    fn shares_and_plurals_follow_their_language() {
        let share = |text: &str, language| percent(text.parse().unwrap(), language);
        assert_eq!((share("5.50", Language::En), share("5.50", Language::Fr)), ("5.5%".into(), "5,5\u{202f}%".into()));
        assert_eq!(share("20", Language::En), "20%");
        let of = |n, language| plural(n, "guest", "guests", language);
        assert_eq!([of(0, Language::En), of(1, Language::En), of(2, Language::En)], ["guests", "guest", "guests"]);
        assert_eq!([of(0, Language::Fr), of(1, Language::Fr), of(2, Language::Fr)], ["guest", "guest", "guests"]);
    }

    #[test]
    fn durations_have_plurals() {
        assert_eq!(duration(150, Language::En), "2\u{a0}hours 30\u{a0}minutes");
        assert_eq!(duration(1441, Language::Fr), "1\u{a0}jour 1\u{a0}minute");
        assert_eq!(duration(0, Language::En), "");
    }
}
