//! Facts put into words: one folder per message and language, each with a subject, a text, an HTML body and a short text.
//!
//! The templates are part of the binary. They get strings that are formatted for the language already, so that they hold
//! words and nothing else; a variable that does not exist is an error, and HTML escapes whatever comes from people. A
//! part that a language lacks is taken from the next one in [`Language::order`].

mod view;

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

pub use view::{QR_SHOWN, Story, qr_id};

use crate::domain::message::{Kind, Language};

macro_rules! folder {
    ($folder:literal) => {
        [
            folder!($folder, "en", "subject.txt"),
            folder!($folder, "en", "body.txt"),
            folder!($folder, "en", "body.html"),
            folder!($folder, "en", "short.txt"),
            folder!($folder, "fr", "subject.txt"),
            folder!($folder, "fr", "body.txt"),
            folder!($folder, "fr", "body.html"),
            folder!($folder, "fr", "short.txt"),
        ]
    };
    ($folder:literal, $language:literal, $file:literal) => {
        (
            concat!($folder, "/", $language, "/", $file),
            include_str!(concat!("../templates/", $folder, "/", $language, "/", $file)),
        )
    };
}

macro_rules! shared {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../templates/", $path)))),*] };
}

const SHARED: &[(&str, &str)] = shared!(
    "layout.html",
    "parts.html",
    "shared/en/about.html",
    "shared/en/about.txt",
    "shared/en/receipt.html",
    "shared/en/receipt.txt",
    "shared/en/vouchers.html",
    "shared/en/vouchers.txt",
    "shared/en/foot.html",
    "shared/en/foot.txt",
    "shared/fr/about.html",
    "shared/fr/about.txt",
    "shared/fr/receipt.html",
    "shared/fr/receipt.txt",
    "shared/fr/vouchers.html",
    "shared/fr/vouchers.txt",
    "shared/fr/foot.html",
    "shared/fr/foot.txt",
);
const MESSAGES: &[[(&str, &str); 8]] = &[
    folder!("booking_confirmed"),
    folder!("booking_cancelled"),
    folder!("payment_failed"),
    folder!("booking_changed"),
    folder!("booking_rescheduled"),
    folder!("departure_cancelled"),
    folder!("departure_changed"),
    folder!("waiting_list_offer"),
    folder!("receipt"),
    folder!("departure_reminder"),
    folder!("webhook_disabled"),
];

/// The parts of a message.
#[cfg(test)]
const PARTS: [&str; 4] = ["subject.txt", "body.txt", "body.html", "short.txt"];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(|| environment(SHARED.iter().chain(MESSAGES.iter().flatten())));

fn environment<'a>(
    templates: impl Iterator<Item = &'a (&'static str, &'static str)>,
) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    for (name, source) in templates {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

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

impl From<minijinja::Error> for RenderError {
    fn from(error: minijinja::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Writes a message for an e-mail.
///
/// # Errors
/// When a template does not fit; the tests render every one of them.
pub fn write(kind: Kind, language: Language, story: &Story<'_>) -> Result<Words, RenderError> {
    let environment = ready()?;
    let view = view::view(language, story);
    let render = |part| render(environment, kind, language, part, &view);
    Ok(Words {
        subject: one_line(&render("subject.txt")?),
        text: spaced(&render("body.txt")?),
        // The engine drops the last line break of a template.
        html: render("body.html")? + "\n",
    })
}

/// Writes a message for a telephone: a title and one short paragraph.
///
/// # Errors
/// When a template does not fit; the tests render every one of them.
pub fn write_short(kind: Kind, language: Language, story: &Story<'_>) -> Result<(String, String), RenderError> {
    let environment = ready()?;
    let view = view::view(language, story);
    let render = |part| render(environment, kind, language, part, &view).map(|text| one_line(&text));
    Ok((render("subject.txt")?, render("short.txt")?))
}

fn ready() -> Result<&'static Environment<'static>, RenderError> {
    ENVIRONMENT.as_ref().map_err(|e| RenderError(format!("{e:#}")))
}

fn render(
    environment: &Environment<'_>,
    kind: Kind,
    language: Language,
    part: &str,
    view: &Value,
) -> Result<String, RenderError> {
    let folder = kind.as_str().to_lowercase();
    let names = language.order().iter().map(|l| format!("{folder}/{}/{part}", l.as_str()));
    let template = names.into_iter().find_map(|name| environment.get_template(&name).ok());
    let template = template.ok_or_else(|| RenderError(format!("{folder} has no {part}")))?;
    Ok(template.render(view)?)
}

/// A title with a line break must not end the header.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Never more than one empty line: what does not apply leaves no hole.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.trim().lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            spaced.push_str(line);
            spaced.push('\n');
        }
    }
    spaced
}

#[cfg(test)]
#[path = "templates/tests.rs"]
mod tests;
