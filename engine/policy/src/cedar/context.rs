//! The context of a decision: out of the input of a call or a chat, or of a request, the parts that rules name.

use std::time::{SystemTime, UNIX_EPOCH};

use cedar_policy::{Context, RestrictedExpression};
use serde_json::{Map, Value};

use super::names::{Named, Path, Root, Usage};
use super::request;
use super::shape::{Fields, Presence, Shape};
use super::subject::INPUT;
use crate::{Action, Query};

/// The largest integer that every JSON reader has in common with `f64`.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

/// The parts of a context that rules name, with all that is below them.
#[derive(Debug)]
pub(super) struct Wanted {
    fields: Vec<WantedField>,
}

#[derive(Debug)]
struct WantedField {
    name: String,
    presence: Presence,
    part: WantedPart,
}

#[derive(Debug)]
enum WantedPart {
    Whole(Shape),
    Parts(Wanted),
}

/// A value that does not fit its Cedar type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) steps: Vec<String>,
    pub(super) why: Misfit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("it is missing")]
    Missing,
    #[error("it is not a {0}")]
    Type(&'static str),
    #[error("it is not an integer between -2^63 and 2^63-1")]
    Integer,
    #[error("it has more than four decimals")]
    Decimals,
    #[error("it is beyond what a decimal can hold, some 922 trillion")]
    DecimalRange,
    #[error("the time is beyond the year 9999 or before the year 1")]
    Time,
    #[error("Cedar refuses it")]
    Refused,
}

impl Wanted {
    /// What is wanted of a context by rules that name these.
    pub(super) fn new<'a>(context: &Fields, named: impl IntoIterator<Item = &'a Named>) -> Self {
        let named = named.into_iter().filter(|named| named.path.root == Root::Context);
        let paths: Vec<_> = named.map(|named| (named.path.steps.as_slice(), named.usage)).collect();
        Self::project(context, &paths)
    }

    fn project(fields: &Fields, paths: &[(&[String], Usage)]) -> Self {
        let is_value = |paths: &[(&[String], Usage)]| paths.contains(&(&[], Usage::Value));
        let whole = is_value(paths);
        let wanted = fields.iter().filter_map(|(name, field)| {
            let shape = field.shape.as_ref().ok()?;
            let below = paths.iter().filter_map(|(path, usage)| {
                let (step, rest) = path.split_first()?;
                (step == name).then_some((rest, *usage))
            });
            let below: Vec<_> = below.collect();
            let part = match shape {
                _ if whole || is_value(&below) => WantedPart::Whole(shape.clone()),
                _ if below.is_empty() => return None,
                Shape::Record(fields) => WantedPart::Parts(Self::project(fields, &below)),
                _ => WantedPart::Whole(shape.clone()),
            };
            Some(WantedField { name: name.clone(), presence: field.presence, part })
        });
        Self { fields: wanted.collect() }
    }

    pub(super) fn context(&self, query: &Query<'_>) -> Result<Context, Unfit> {
        let mut pairs = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            if let Some(value) = field.value_in(query).map_err(|unfit| unfit.below(&field.name))? {
                pairs.push((field.name.clone(), value));
            }
        }
        Context::from_pairs(pairs).map_err(|_| Unfit::here(Misfit::Refused))
    }

    fn record(&self, json: &Value) -> Result<RestrictedExpression, Unfit> {
        let object = object(json)?;
        record(self.fields.iter().map(|field| (&field.name, field.value(object.get(&field.name)))))
    }
}

impl WantedField {
    fn value_in(&self, query: &Query<'_>) -> Result<Option<RestrictedExpression>, Unfit> {
        match (self.name.as_str(), query.action) {
            ("time", _) => time(query.time).map(Some).map_err(Unfit::here),
            ("depth", _) => Ok(Some(RestrictedExpression::new_long(i64::from(query.depth)))),
            // More than that many calls are as many.
            ("calls", _) => Ok(Some(RestrictedExpression::new_long(i64::try_from(query.calls).unwrap_or(i64::MAX)))),
            (INPUT, Action::Call { input, .. } | Action::Chat { input, .. }) => self.value(Some(input)),
            (_, Action::Call { .. } | Action::Chat { .. }) => Ok(None),
            (name, Action::Fetch { request, address } | Action::Use { request, address, .. }) => {
                self.value(request::read(name, request, address).as_ref())
            }
        }
    }

    fn value(&self, json: Option<&Value>) -> Result<Option<RestrictedExpression>, Unfit> {
        present(json, self.presence)?
            .map(|json| match &self.part {
                WantedPart::Whole(shape) => value(shape, json),
                WantedPart::Parts(wanted) => wanted.record(json),
            })
            .transpose()
    }
}

impl Unfit {
    fn here(why: Misfit) -> Self {
        Self { steps: Vec::new(), why }
    }

    fn below(mut self, step: &str) -> Self {
        self.steps.insert(0, step.to_owned());
        self
    }

    /// As a rule would write it.
    pub(super) fn path(&self) -> Path {
        Path { root: Root::Context, steps: self.steps.clone() }
    }
}

/// Null is as good as nothing.
fn present(json: Option<&Value>, presence: Presence) -> Result<Option<&Value>, Unfit> {
    match (json.filter(|json| !json.is_null()), presence) {
        (None, Presence::Required) => Err(Unfit::here(Misfit::Missing)),
        (json, _) => Ok(json),
    }
}

fn value(shape: &Shape, json: &Value) -> Result<RestrictedExpression, Unfit> {
    match shape {
        Shape::Bool => json.as_bool().map(RestrictedExpression::new_bool).ok_or(Misfit::Type("boolean")),
        Shape::String => {
            json.as_str().map(|text| RestrictedExpression::new_string(text.to_owned())).ok_or(Misfit::Type("string"))
        }
        Shape::Long => long(json).map(RestrictedExpression::new_long),
        Shape::Decimal => decimal(json),
        // No input has one.
        Shape::Datetime => Err(Misfit::Refused),
        Shape::Set(element) => return set(element, json),
        Shape::Record(fields) => return whole_record(fields, json),
    }
    .map_err(Unfit::here)
}

fn whole_record(fields: &Fields, json: &Value) -> Result<RestrictedExpression, Unfit> {
    let object = object(json)?;
    let visible = fields.iter().filter_map(|(name, field)| Some((name, field, field.shape.as_ref().ok()?)));
    record(visible.map(|(name, field, shape)| {
        let json = present(object.get(name), field.presence);
        (name, json.and_then(|json| json.map(|json| value(shape, json)).transpose()))
    }))
}

fn record<'a>(
    fields: impl Iterator<Item = (&'a String, Result<Option<RestrictedExpression>, Unfit>)>,
) -> Result<RestrictedExpression, Unfit> {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        if let Some(value) = value.map_err(|unfit| unfit.below(name))? {
            pairs.push((name.clone(), value));
        }
    }
    RestrictedExpression::new_record(pairs).map_err(|_| Unfit::here(Misfit::Refused))
}

fn set(element: &Shape, json: &Value) -> Result<RestrictedExpression, Unfit> {
    let elements = json.as_array().ok_or(Unfit::here(Misfit::Type("list")))?;
    let elements: Result<Vec<_>, _> = elements
        .iter()
        .enumerate()
        .map(|(index, json)| value(element, json).map_err(|unfit| unfit.below(&index.to_string())))
        .collect();
    elements.map(RestrictedExpression::new_set)
}

fn object(json: &Value) -> Result<&Map<String, Value>, Unfit> {
    json.as_object().ok_or(Unfit::here(Misfit::Type("record")))
}

/// Wide integers come as strings of their digits too, and an integer may be written `5.0`.
fn long(json: &Value) -> Result<i64, Misfit> {
    if let Some(text) = json.as_str() {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        return plain.then(|| text.parse().ok()).flatten().ok_or(Misfit::Integer);
    }
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= MAX_SAFE;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    let rounded = || json.as_f64().filter(|_| !json.is_u64()).filter(whole).map(|number| number as i64);
    json.as_i64().or_else(rounded).ok_or(Misfit::Integer)
}

/// Numbers become the decimal of the shortest text that stands for them.
fn decimal(json: &Value) -> Result<RestrictedExpression, Misfit> {
    const MAX: u64 = 922_337_203_685_477;
    let Value::Number(number) = json else { return Err(Misfit::Type("number")) };
    let text = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => format!("{whole}.0"),
        (None, Some(float)) if float.is_finite() => {
            let text = float.to_string();
            if text.contains('.') { text } else { format!("{text}.0") }
        }
        _ => return Err(Misfit::DecimalRange),
    };
    let (whole, decimals) = text.trim_start_matches('-').split_once('.').ok_or(Misfit::Refused)?;
    if decimals.len() > 4 {
        return Err(Misfit::Decimals);
    }
    // The last few ten-thousandths of the range are given up for a simple check.
    if whole.parse::<u64>().is_ok_and(|whole| whole < MAX) {
        Ok(RestrictedExpression::new_decimal(text))
    } else {
        Err(Misfit::DecimalRange)
    }
}

/// Cedar takes a time as text.
fn time(time: SystemTime) -> Result<RestrictedExpression, Misfit> {
    const DAY: i64 = 86_400_000;
    let millis = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()),
        Err(before) => i64::try_from(before.duration().as_millis()).map(|millis| -millis),
    }
    .map_err(|_| Misfit::Time)?;
    let (year, month, day) = civil(millis.div_euclid(DAY));
    if !(1..=9999).contains(&year) {
        return Err(Misfit::Time);
    }
    let rest = millis.rem_euclid(DAY);
    let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
    Ok(RestrictedExpression::new_datetime(text))
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01.
///
/// The algorithm is Howard Hinnant's `civil_from_days`: eras of 400 years, and years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
