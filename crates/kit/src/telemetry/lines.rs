//! Log lines on standard error: compact for people, JSON for machines.

use std::{error::Error, fmt};

use chrono::{Local, SecondsFormat, Utc};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt},
};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    LogFormat,
    ids::{Here, Known},
    role::{FIELD, Roles, TARGET_PREFIX},
};

/// Writes one event as one line.
pub(super) struct Lines {
    format: LogFormat,
    roles: Roles,
    here: Here,
    width: usize,
}

impl Lines {
    pub(super) fn new(format: LogFormat, roles: Roles, here: Here) -> Self {
        let width = roles.iter().map(str::len).max().unwrap_or(0);
        Self { format, roles, here, width }
    }

    /// The role that the line names, or that its crate or span has; not the first role, which would be a guess.
    fn role(&self, named: Option<&str>, target: &str) -> Option<&'static str> {
        let role = named.and_then(|name| self.roles.named(name));
        let role = role.or_else(|| self.roles.of_target(target));
        let role = role.or_else(|| self.here.known().map(|known| known.role));
        let role = role.or_else(|| self.roles.of_current_span());
        role.map(|role| self.roles.name(role))
    }

    fn pretty(&self, writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let mut text = Text::default();
        event.record(&mut text);
        let role = self.role(text.role.as_deref(), target).unwrap_or("");
        let paint = Paint(writer.has_ansi_escapes());
        let color = match level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            _ => "34",
        };
        paint.write(writer, "2", format_args!("{}", Local::now().format("%H:%M:%S%.3f")))?;
        paint.write(writer, color, format_args!(" {:>5} ", level.as_str()))?;
        paint.write(writer, "36", format_args!("{role:width$} ", width = self.width))?;
        if !target.starts_with(TARGET_PREFIX) {
            paint.write(writer, "2", format_args!("{}: ", target.split("::").next().unwrap_or(target)))?;
        }
        writer.write_str(&text.message)?;
        paint.write(writer, "2", format_args!("{}", text.fields))?;
        writer.write_char('\n')
    }

    fn json(&self, writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata: &Metadata<'_> = event.metadata();
        let mut object = Object::default();
        event.record(&mut object);
        let span = self.here.known().map(Known::context);
        let span = span.or_else(|| Context::map_current(|context| Some(context.span().span_context().clone())));
        let span = span.filter(SpanContext::is_valid);
        let (trace_id, span_id) =
            (span.as_ref().map(|s| s.trace_id().to_string()), span.as_ref().map(|s| s.span_id().to_string()));
        let line = JsonLine {
            timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
            level: metadata.level().as_str(),
            role: self.role(object.role.as_deref(), metadata.target()),
            target: metadata.target(),
            message: object.message,
            fields: object.fields,
            trace_id,
            span_id,
        };
        writer.write_str(&serde_json::to_string(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.format {
            LogFormat::Pretty => self.pretty(&mut writer, event),
            LogFormat::Json => self.json(&mut writer, event),
        }
    }
}

/// Whether to use the terminal's colours.
struct Paint(bool);

impl Paint {
    fn write(&self, writer: &mut Writer<'_>, code: &str, text: fmt::Arguments<'_>) -> fmt::Result {
        if self.0 { write!(writer, "\x1b[{code}m{text}\x1b[0m") } else { writer.write_fmt(text) }
    }
}

/// The message and the fields of an event, as people read them.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    role: Option<String>,
}

impl Text {
    fn add(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => push_harmless(&mut self.message, value),
            FIELD => self.role = Some(value.to_owned()),
            name => {
                self.fields.push_str(if self.fields.is_empty() { "  " } else { " " });
                self.fields.push_str(name);
                self.fields.push('=');
                push_harmless(&mut self.fields, value);
            }
        }
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Quotes only where it would be unclear where the value ends.
        let plain = field.name() == "message" || (!value.is_empty() && !value.contains([' ', '"', '=']));
        if plain { self.add(field, value) } else { self.add(field, &format!("{value:?}")) }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, &chain(value));
    }
}

/// The message and the fields of an event, as JSON.
#[derive(Default)]
struct Object {
    message: String,
    fields: Map<String, Value>,
    role: Option<String>,
}

impl Object {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (FIELD, Value::String(text)) => self.role = Some(text),
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, chain(value).into());
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Text from outside must neither command the terminal nor look like a line of its own.
fn push_harmless(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\n    "),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
}
