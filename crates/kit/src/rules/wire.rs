//! The walk: protobuf bytes against a plan, in place, without building the message.

use prost::Message as _;
use tourmesh::{common::v1::ErrorReason, google::r#type::Money as WireMoney};

use super::{
    format,
    plan::{FieldPlan, Kind, MAX_FIELDS, Number, Plans, Problem, TextRule, Whole, within},
    reader::{FIXED32, FIXED64, Fault, GROUP_END, GROUP_START, LENGTH, Reader, VARINT},
};
use crate::{
    error::{ApiError, ApiResult},
    id,
    money::Money,
};

/// How deep messages may lie in each other; the request itself is the first.
const MAX_DEPTH: u32 = 32;
/// How many violations an answer tells: enough for any person, and a bound for who sends nothing but bad items.
const MAX_VIOLATIONS: usize = 20;

/// Walks one request.
pub(super) fn check(plans: &Plans, message: usize, bytes: &[u8]) -> ApiResult<()> {
    let mut walk = Walk { plans, violations: Vec::new() };
    walk.message(message, bytes, None, 1)?;
    if walk.violations.is_empty() { Ok(()) } else { Err(ApiError::fields(walk.violations)) }
}

impl Fault {
    #[cold]
    fn at(self, place: Option<&Place<'_>>) -> ApiError {
        let path = place.map_or_else(|| "the request".to_owned(), Place::path);
        let what = match self {
            Self::CutShort => "the bytes end too early",
            Self::Varint => "a varint is broken",
            Self::Key => "a field number or a wire type does not exist",
            Self::Group => "groups are not supported",
            Self::WireType => "the wire type is not the one of the field",
            Self::Utf8 => "the text is not UTF-8",
            Self::TooDeep => "the messages are nested too deep",
        };
        ApiError::new(ErrorReason::MalformedRequest, format!("{path}: {what}"))
    }
}

/// Where the walk is: a list through the stack, which becomes a text only when something is wrong.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
    item: Option<usize>,
}

impl Place<'_> {
    /// `units[1].quantity`.
    fn path(&self) -> String {
        let mut path = self.parent.map(|parent| parent.path() + ".").unwrap_or_default();
        path.push_str(self.name);
        if let Some(item) = self.item {
            path.push_str(&format!("[{item}]"));
        }
        path
    }
}

/// What is known so far about one field of the message at hand.
#[derive(Clone, Copy)]
struct Seen {
    items: usize,
    /// Of the last occurrence, which is the one that counts; `None` before the first.
    last: Option<Result<(), Problem>>,
}

struct Walk<'p> {
    plans: &'p Plans,
    violations: Vec<(String, String)>,
}

impl Walk<'_> {
    fn message(&mut self, index: usize, bytes: &[u8], here: Option<&Place<'_>>, depth: u32) -> ApiResult<()> {
        let plans = self.plans;
        let Some(plan) = plans.message(index) else {
            return Err(ApiError::internal(format!("there is no plan {index}")));
        };
        let mut seen = [Seen { items: 0, last: None }; MAX_FIELDS];
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            let (number, wire) = reader.key().map_err(|fault| fault.at(here))?;
            let known = plan.position(number);
            let known = known.and_then(|at| Some((plan.fields().get(at)?, seen.get_mut(at)?)));
            match known {
                Some((field, seen)) => self.field(field, seen, wire, &mut reader, here, depth)?,
                // A newer client may know more than we do; what it sends must be protobuf all the same.
                None => reader.skip(wire).map_err(|fault| fault.at(here))?,
            }
        }
        for (field, seen) in plan.fields().iter().zip(&seen) {
            let problem = if field.is_repeated {
                problem_of_count(field, seen.items)
            } else {
                seen.last.map_or(field.when_absent, Result::err)
            };
            if let Some(problem) = problem {
                self.violation(field, None, problem, here);
            }
        }
        if plan.is_money {
            self.money(bytes, here);
        }
        Ok(())
    }

    /// One occurrence of a field: one value, or a packed run of them.
    fn field(
        &mut self,
        field: &FieldPlan,
        seen: &mut Seen,
        wire: u8,
        reader: &mut Reader<'_>,
        here: Option<&Place<'_>>,
        depth: u32,
    ) -> ApiResult<()> {
        let item = field.is_repeated.then_some(seen.items);
        let place = Place { parent: here, name: &field.name, item };
        let malformed = |fault: Fault| fault.at(Some(&place));
        match &field.kind {
            Kind::Message(index) if wire == LENGTH => {
                let bytes = reader.chunk().map_err(malformed)?;
                if depth == MAX_DEPTH {
                    return Err(malformed(Fault::TooDeep));
                }
                // A message that comes twice would be merged by a decoder. No encoder of ours writes that, so each is
                // checked as if it were alone.
                self.message(*index, bytes, Some(&place), depth + 1)?;
                self.note(field, seen, Ok(()), here);
            }
            Kind::Text(rule) if wire == LENGTH => {
                let bytes = reader.chunk().map_err(malformed)?;
                let text = std::str::from_utf8(bytes).map_err(|_| malformed(Fault::Utf8))?;
                self.note(field, seen, check_text(field, rule, text), here);
            }
            Kind::Blob { max_len } if wire == LENGTH => {
                let bytes = reader.chunk().map_err(malformed)?;
                let verdict = match bytes.len() {
                    0 if field.required && !field.is_repeated => Err(Problem::Missing),
                    len if len > *max_len => Err(Problem::Length),
                    _ => Ok(()),
                };
                self.note(field, seen, verdict, here);
            }
            Kind::Number(number) if wire == number.wire() => {
                let verdict = check_number(field, number, reader).map_err(malformed)?;
                self.note(field, seen, verdict, here);
            }
            Kind::Number(number) if wire == LENGTH && field.is_repeated => {
                let mut run = Reader(reader.chunk().map_err(malformed)?);
                while !run.is_empty() {
                    let verdict = check_number(field, number, &mut run).map_err(malformed)?;
                    self.note(field, seen, verdict, here);
                }
            }
            _ if matches!(wire, GROUP_START | GROUP_END) => return Err(malformed(Fault::Group)),
            _ => return Err(malformed(Fault::WireType)),
        }
        Ok(())
    }

    /// Keeps the verdict on one value: of an item it is told at once, of a single value only the last one counts.
    fn note(&mut self, field: &FieldPlan, seen: &mut Seen, verdict: Result<(), Problem>, here: Option<&Place<'_>>) {
        if !field.is_repeated {
            seen.last = Some(verdict);
            return;
        }
        if let Err(problem) = verdict {
            self.violation(field, Some(seen.items), problem, here);
        }
        seen.items += 1;
    }

    #[cold]
    fn violation(&mut self, field: &FieldPlan, item: Option<usize>, problem: Problem, here: Option<&Place<'_>>) {
        let place = Place { parent: here, name: &field.name, item };
        self.tell(&place, || field.tell(problem));
    }

    /// An amount is right or wrong as a whole, and [`Money`] knows which: it is small enough to be decoded.
    fn money(&mut self, bytes: &[u8], here: Option<&Place<'_>>) {
        // The walk has found the bytes well-formed, and a request of its own Money is not.
        let (Ok(wire), Some(place)) = (WireMoney::decode(bytes), here) else {
            return;
        };
        if let Err(problem) = Money::of_wire(&wire) {
            self.tell(place, || format!("is not an amount: {problem}"));
        }
    }

    fn tell(&mut self, place: &Place<'_>, problem: impl FnOnce() -> String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push((place.path(), problem()));
        }
    }
}

fn problem_of_count(field: &FieldPlan, items: usize) -> Option<Problem> {
    if items == 0 && field.required {
        Some(Problem::Missing)
    } else if items < field.min_items || items > field.max_items {
        Some(Problem::Items)
    } else {
        None
    }
}

/// An empty text that stands alone was simply not filled in; an empty item was put there, and has to fit like any other.
fn check_text(field: &FieldPlan, rule: &TextRule, text: &str) -> Result<(), Problem> {
    if text.is_empty() && !field.is_repeated {
        return if field.required { Err(Problem::Missing) } else { Ok(()) };
    }
    // No character is shorter than a byte, so most texts need no counting.
    let too_long = text.len() > rule.max_len && text.chars().count() > rule.max_len;
    if too_long || (rule.min_len > 0 && text.chars().count() < rule.min_len) {
        return Err(Problem::Length);
    }
    if rule.id_prefix.is_some_and(|prefix| id::parse(prefix, text).is_err()) {
        return Err(Problem::Id);
    }
    if !format::fits(rule.format, text) {
        return Err(Problem::Form);
    }
    // PostgreSQL cannot keep it in a text, and would fail as if the defect were ours.
    if text.as_bytes().contains(&0) {
        return Err(Problem::Nul);
    }
    Ok(())
}

/// Reads one number. The outer result is about the bytes, the inner about the rule.
fn check_number(field: &FieldPlan, number: &Number, reader: &mut Reader<'_>) -> Result<Result<(), Problem>, Fault> {
    let (is_zero, verdict) = match number {
        Number::Bool => (reader.varint()? == 0, Ok(())),
        Number::Whole { form, min, max } => {
            let value = whole(*form, reader)?;
            (value == 0, if within(value, *min, *max) { Ok(()) } else { Err(Problem::Range) })
        }
        Number::Real { is_double, limit } => {
            let value = if *is_double {
                f64::from_le_bytes(reader.fixed()?)
            } else {
                f64::from(f32::from_le_bytes(reader.fixed()?))
            };
            // Not a number is not within anything.
            let fits = limit.is_none_or(|limit| value.abs() <= limit);
            (value == 0.0, if fits { Ok(()) } else { Err(Problem::Range) })
        }
        Number::Choice { values, .. } => {
            let value = reader.varint()? as i32;
            let known = values.binary_search(&value).is_ok();
            (value == 0, if known { Ok(()) } else { Err(Problem::NotDefined) })
        }
    };
    let missing = is_zero && field.required && !field.is_repeated;
    Ok(if missing { Err(Problem::Missing) } else { verdict })
}

/// Narrow types take the low bits, as every decoder does: the rule must see what the handler will see.
fn whole(form: Whole, reader: &mut Reader<'_>) -> Result<i64, Fault> {
    let unsigned = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Ok(match form {
        Whole::Int32 => i64::from(reader.varint()? as i32),
        Whole::Int64 => reader.varint()? as i64,
        Whole::Uint32 => i64::from(reader.varint()? as u32),
        Whole::Uint64 => unsigned(reader.varint()?),
        Whole::Sint32 => unzigzag(u64::from(reader.varint()? as u32)),
        Whole::Sint64 => unzigzag(reader.varint()?),
        Whole::Fixed32 => i64::from(u32::from_le_bytes(reader.fixed()?)),
        Whole::Fixed64 => unsigned(u64::from_le_bytes(reader.fixed()?)),
        Whole::Sfixed32 => i64::from(i32::from_le_bytes(reader.fixed()?)),
        Whole::Sfixed64 => i64::from_le_bytes(reader.fixed()?),
    })
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl Number {
    /// How one value is written when it is not packed.
    fn wire(&self) -> u8 {
        match self {
            Self::Bool | Self::Choice { .. } => VARINT,
            Self::Real { is_double: true, .. } => FIXED64,
            Self::Real { is_double: false, .. } => FIXED32,
            Self::Whole { form, .. } => match form {
                Whole::Fixed64 | Whole::Sfixed64 => FIXED64,
                Whole::Fixed32 | Whole::Sfixed32 => FIXED32,
                _ => VARINT,
            },
        }
    }
}
