//! From descriptors to plans: all that a walk over bytes has to know, worked out once.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind as ProtoKind, MessageDescriptor,
};
use tourmesh::options::v1::{FieldRule, Format};

/// Characters of a text without a rule of its own.
const TEXT_CHARACTERS: usize = 512;
/// Bytes of a `bytes` field without a rule of its own.
const BLOB_BYTES: usize = 262_144;
/// Items of a list without a rule of its own.
const LIST_ITEMS: usize = 100;
/// More fields than this in one message do not compile: the walk keeps their state on the stack.
pub(super) const MAX_FIELDS: usize = 32;

/// The plans of every message that a request can hold. They refer to each other by index, so that a message may hold
/// itself.
#[derive(Debug, Default)]
pub(super) struct Plans {
    messages: Vec<MessagePlan>,
}

/// One message type.
#[derive(Debug, Default)]
pub(super) struct MessagePlan {
    /// In the order of their numbers.
    fields: Vec<FieldPlan>,
    /// A google.type.Money: its parts make sense together only.
    pub(super) is_money: bool,
}

/// One field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    number: u32,
    pub(super) name: String,
    pub(super) is_repeated: bool,
    pub(super) required: bool,
    pub(super) min_items: usize,
    pub(super) max_items: usize,
    /// What is wrong when a field that is not repeated does not come at all.
    pub(super) when_absent: Option<Problem>,
    pub(super) kind: Kind,
}

/// What the field holds, with the rules of the kind.
#[derive(Debug)]
pub(super) enum Kind {
    Text(TextRule),
    Blob { max_len: usize },
    Message(usize),
    Number(Number),
}

/// Everything that may be packed.
#[derive(Debug)]
pub(super) enum Number {
    Bool,
    Whole {
        form: Whole,
        min: Option<i64>,
        max: Option<i64>,
    },
    /// `limit`: the greatest magnitude, degrees being all that our API has of these.
    Real {
        is_double: bool,
        limit: Option<f64>,
    },
    Choice {
        name: String,
        values: Vec<i32>,
    },
}

/// How a whole number is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whole {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
}

#[derive(Debug)]
pub(super) struct TextRule {
    /// `'static` as [`crate::id::parse`] wants it.
    pub(super) id_prefix: Option<&'static str>,
    pub(super) min_len: usize,
    pub(super) max_len: usize,
    pub(super) format: Format,
}

/// What is wrong with a value. It becomes a text only when it is told, so that the happy path writes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    Length,
    Nul,
    Id,
    Form,
    Range,
    NotDefined,
    Items,
}

impl Plans {
    pub(super) fn message(&self, index: usize) -> Option<&MessagePlan> {
        self.messages.get(index)
    }
}

impl MessagePlan {
    pub(super) fn fields(&self) -> &[FieldPlan] {
        &self.fields
    }

    /// Numbers run 1, 2, 3 in nearly every message, so the first guess is nearly always right.
    pub(super) fn position(&self, number: u32) -> Option<usize> {
        let guess = usize::try_from(number).ok()?.wrapping_sub(1);
        match self.fields.get(guess) {
            Some(field) if field.number == number => Some(guess),
            _ => self.fields.binary_search_by_key(&number, |field| field.number).ok(),
        }
    }
}

impl FieldPlan {
    /// The problem in words: what is wanted, not what came.
    pub(super) fn tell(&self, problem: Problem) -> String {
        match (problem, &self.kind) {
            (Problem::Missing, _) => "must be set".to_owned(),
            (Problem::Items, _) => {
                between("must have", " items", (self.min_items > 0).then_some(self.min_items), Some(self.max_items))
            }
            (Problem::Length, Kind::Text(rule)) => {
                between("must have", " characters", (rule.min_len > 0).then_some(rule.min_len), Some(rule.max_len))
            }
            (Problem::Length, Kind::Blob { max_len }) => between("must have", " bytes", None, Some(*max_len)),
            (Problem::Nul, _) => "must not contain the character U+0000".to_owned(),
            (Problem::Id, Kind::Text(TextRule { id_prefix: Some(prefix), .. })) => {
                crate::id::IdError { prefix }.to_string()
            }
            (Problem::Form, Kind::Text(rule)) => super::format::wanted(rule.format).to_owned(),
            (Problem::Range, Kind::Number(Number::Whole { min, max, .. })) => between("must be", "", *min, *max),
            (Problem::Range, Kind::Number(Number::Real { limit: Some(limit), .. })) => {
                format!("must be between -{limit} and {limit}")
            }
            (Problem::NotDefined, Kind::Number(Number::Choice { name, .. })) => {
                format!("is not a value of {name}")
            }
            _ => "is not valid".to_owned(),
        }
    }
}

fn between<T: ToString>(verb: &str, what: &str, min: Option<T>, max: Option<T>) -> String {
    match (min.map(|m| m.to_string()), max.map(|m| m.to_string())) {
        (Some(min), Some(max)) if min == max => format!("{verb} exactly {min}{what}"),
        (Some(min), Some(max)) => format!("{verb} between {min} and {max}{what}"),
        (Some(min), None) => format!("{verb} at least {min}{what}"),
        (None, Some(max)) => format!("{verb} at most {max}{what}"),
        (None, None) => format!("{verb} other{what}"),
    }
}

/// Collects the plans of the messages that requests hold.
pub(super) struct Compiler {
    rule: ExtensionDescriptor,
    plans: Plans,
    known: HashMap<String, usize>,
}

impl Compiler {
    pub(super) fn new(pool: &DescriptorPool) -> Result<Self, String> {
        let rule = extension(pool, "tourmesh.options.v1.rule")?;
        Ok(Self { rule, plans: Plans::default(), known: HashMap::new() })
    }

    pub(super) fn finish(self) -> Plans {
        self.plans
    }

    /// The index of the message's plan. The index is given out before the fields are looked at, which is what ends the
    /// recursion of a message that holds itself.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Result<usize, String> {
        let name = message.full_name();
        if let Some(index) = self.known.get(name) {
            return Ok(*index);
        }
        let index = self.plans.messages.len();
        self.plans.messages.push(MessagePlan::default());
        self.known.insert(name.to_owned(), index);
        let mut fields = message.fields().map(|field| self.field(&field)).collect::<Result<Vec<_>, _>>()?;
        if fields.len() > MAX_FIELDS {
            return Err(format!("{name} has more than {MAX_FIELDS} fields"));
        }
        fields.sort_by_key(|field| field.number);
        self.plans.messages[index] = MessagePlan { fields, is_money: name == "google.type.Money" };
        Ok(index)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<FieldPlan, String> {
        if field.is_map() || field.is_group() {
            return Err(format!("{} is a map or a group, which have no rules", field.full_name()));
        }
        let rule = self.rule_of(field)?;
        let kind = match field.kind() {
            ProtoKind::String => Kind::Text(text_rule(field, &rule)?),
            ProtoKind::Bytes => Kind::Blob { max_len: or_default(rule.max_len, BLOB_BYTES) },
            ProtoKind::Message(message) => Kind::Message(self.message(&message)?),
            ProtoKind::Enum(choice) => Kind::Number(choice_of(&choice)),
            ProtoKind::Bool => Kind::Number(Number::Bool),
            ProtoKind::Double => Kind::Number(real(field, true)),
            ProtoKind::Float => Kind::Number(real(field, false)),
            ProtoKind::Int32 => whole(Whole::Int32, &rule),
            ProtoKind::Int64 => whole(Whole::Int64, &rule),
            ProtoKind::Uint32 => whole(Whole::Uint32, &rule),
            ProtoKind::Uint64 => whole(Whole::Uint64, &rule),
            ProtoKind::Sint32 => whole(Whole::Sint32, &rule),
            ProtoKind::Sint64 => whole(Whole::Sint64, &rule),
            ProtoKind::Fixed32 => whole(Whole::Fixed32, &rule),
            ProtoKind::Fixed64 => whole(Whole::Fixed64, &rule),
            ProtoKind::Sfixed32 => whole(Whole::Sfixed32, &rule),
            ProtoKind::Sfixed64 => whole(Whole::Sfixed64, &rule),
        };
        let when_absent = match &kind {
            _ if rule.required => Some(Problem::Missing),
            // Without presence the handler reads an absent number as zero, so zero has to be in the range too.
            Kind::Number(Number::Whole { min, max, .. }) if !field.supports_presence() => {
                (!within(0, *min, *max)).then_some(Problem::Range)
            }
            _ => None,
        };
        Ok(FieldPlan {
            number: field.number(),
            name: field.name().to_owned(),
            is_repeated: field.is_list(),
            required: rule.required,
            min_items: or_default(rule.min_items, 0),
            max_items: or_default(rule.max_items, LIST_ITEMS),
            when_absent,
            kind,
        })
    }

    /// The field's rule; for the vendored google types, which carry none, what their documentation says.
    fn rule_of(&self, field: &FieldDescriptor) -> Result<FieldRule, String> {
        let range = |min, max| FieldRule { min: Some(min), max: Some(max), ..FieldRule::default() };
        match field.full_name() {
            // 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
            "google.protobuf.Timestamp.seconds" => {
                return Ok(range(-62_135_596_800, 253_402_300_799));
            }
            "google.protobuf.Timestamp.nanos" => return Ok(range(0, 999_999_999)),
            _ => {}
        }
        let options = field.options();
        if !options.has_extension(&self.rule) {
            return Ok(FieldRule::default());
        }
        let value = options.get_extension(&self.rule);
        let message = value.as_message().ok_or("the option rule is not a message")?;
        message.transcode_to().map_err(|e| format!("rule of {}: {e}", field.full_name()))
    }
}

pub(super) fn extension(pool: &DescriptorPool, name: &str) -> Result<ExtensionDescriptor, String> {
    pool.get_extension_by_name(name).ok_or_else(|| format!("the option {name} is not declared"))
}

pub(super) fn within(value: i64, min: Option<i64>, max: Option<i64>) -> bool {
    min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
}

fn text_rule(field: &FieldDescriptor, rule: &FieldRule) -> Result<TextRule, String> {
    let format = Format::try_from(rule.format)
        .map_err(|_| format!("{} has a format that this build does not know", field.full_name()))?;
    // Leaked once per rule and process: ids are parsed against constants everywhere else.
    let id_prefix: Option<&'static str> = (!rule.id_prefix.is_empty()).then(|| &*rule.id_prefix.clone().leak());
    let max_len = or_default(rule.max_len, TEXT_CHARACTERS);
    Ok(TextRule { id_prefix, min_len: or_default(rule.min_len, 0), max_len, format })
}

fn whole(form: Whole, rule: &FieldRule) -> Kind {
    Kind::Number(Number::Whole { form, min: rule.min, max: rule.max })
}

fn real(field: &FieldDescriptor, is_double: bool) -> Number {
    let limit = match field.full_name() {
        "google.type.LatLng.latitude" => Some(90.0),
        "google.type.LatLng.longitude" => Some(180.0),
        _ => None,
    };
    Number::Real { is_double, limit }
}

fn choice_of(choice: &EnumDescriptor) -> Number {
    let mut values: Vec<i32> = choice.values().map(|value| value.number()).collect();
    values.sort_unstable();
    Number::Choice { name: choice.name().to_owned(), values }
}

fn or_default(value: u32, default: usize) -> usize {
    if value == 0 { default } else { usize::try_from(value).unwrap_or(usize::MAX) }
}
