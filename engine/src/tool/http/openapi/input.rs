//! The input of a tool: a property for each parameter of an operation, and `body`.

use std::collections::HashMap;

use http::header;
use serde_json::{Map, Value, json};

use super::document::{is_true, resolved, text};
use super::names::Names;
use super::schema::{Reach, Schemas};
use crate::tool::http::operation::{Body, Content, Parameter, Place, Source, Style};
use crate::tool::http::request::{header_name, is_json};

/// The input of a tool, while it is put together.
pub(super) struct Input<'s, 'a> {
    document: &'a Value,
    schemas: &'s mut Schemas<'a>,
    reach: Reach<'a>,
    names: Names,
    properties: Map<String, Value>,
    required: Vec<String>,
    parameters: Vec<Parameter>,
}

impl<'s, 'a> Input<'s, 'a> {
    pub(super) fn new(document: &'a Value, schemas: &'s mut Schemas<'a>) -> Self {
        Self {
            document,
            schemas,
            reach: Reach::default(),
            names: Names::default(),
            properties: Map::new(),
            required: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter. One that cannot be given is left out if it need not be.
    pub(super) fn parameter(&mut self, parameter: &'a Value) -> Result<(), String> {
        let name = text(parameter, "name").ok_or("a parameter has no name")?;
        let ignored = [header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE];
        if text(parameter, "in") == Some("header") && ignored.iter().any(|ignored| ignored == name) {
            return Ok(()); // So the specification says.
        }
        match self.place(name, parameter) {
            Ok(place) => {
                let property = self.property(name, parameter, parameter)?;
                self.parameters.push(Parameter { property, place });
                Ok(())
            }
            Err(why) if is_true(parameter, "required") => Err(format!("its parameter `{name}` {why}")),
            Err(_) => Ok(()),
        }
    }

    fn place(&self, name: &str, parameter: &Value) -> Result<Place, String> {
        let schema = parameter.get("schema").ok_or("has no schema of its own")?;
        let schema = resolved(self.document, schema)?;
        let is_object = text(schema, "type") == Some("object") || schema.get("properties").is_some();
        let style = text(parameter, "style");
        let place = match (text(parameter, "in"), style) {
            (Some("query"), _) => Place::Query(name.to_owned(), query_style(parameter)?),
            (Some("path"), None | Some("simple")) => Place::Path(name.to_owned()),
            (Some("header"), None | Some("simple")) => {
                Place::Header(header_name(name).map_err(|why| format!("cannot be given: {why}"))?)
            }
            (Some("path" | "header"), Some(style)) => return Err(unknown_style(style)),
            (place, _) => return Err(format!("goes in the {}, which is not offered", place.unwrap_or_default())),
        };
        if is_object && !matches!(place, Place::Query(_, Style::Nested)) {
            return Err("is an object, and not of the style `deepObject`".to_owned());
        }
        Ok(place)
    }

    /// Adds the property `body`.
    pub(super) fn body(&mut self, body: &'a Value) -> Result<Option<Body>, String> {
        let Some((media_type, media)) = body_media(body)? else { return Ok(None) };
        let content = if is_json(media_type) {
            let content_type = media_type.parse().map_err(|_| format!("its body cannot be `{media_type}`"))?;
            Content::Json(content_type)
        } else {
            Content::Form(form_styles(media)?)
        };
        let property = self.property("body", body, media)?;
        Ok(Some(Body { source: Source::Property(property), content }))
    }

    /// A property called after `name`, of the schema in `holder`, and otherwise as `said`.
    fn property(&mut self, name: &str, said: &Value, holder: &'a Value) -> Result<String, String> {
        let mut schema =
            holder.get("schema").map_or(Ok(json!({})), |schema| self.schemas.convert(schema, &mut self.reach))?;
        if let (Some(description), Some(schema)) = (text(said, "description"), schema.as_object_mut()) {
            schema.entry("description").or_insert_with(|| json!(description));
        }
        let property = self.names.fresh(name);
        if is_true(said, "required") {
            self.required.push(property.clone());
        }
        self.properties.insert(property.clone(), schema);
        Ok(property)
    }

    pub(super) fn finish(self) -> Result<(Vec<Parameter>, Value), String> {
        let schema = json!({"type": "object", "properties": self.properties, "required": self.required});
        Ok((self.parameters, self.schemas.complete(schema, self.reach)?))
    }
}

fn query_style(parameter: &Value) -> Result<Style, String> {
    let style = text(parameter, "style").unwrap_or("form");
    let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
    match (style, explode) {
        ("form" | "spaceDelimited" | "pipeDelimited", true) => Ok(Style::Repeated),
        ("form", false) => Ok(Style::Joined(',')),
        ("spaceDelimited", false) => Ok(Style::Joined(' ')),
        ("pipeDelimited", false) => Ok(Style::Joined('|')),
        ("deepObject", _) => Ok(Style::Nested),
        _ => Err(unknown_style(style)),
    }
}

fn unknown_style(style: &str) -> String {
    format!("has the style `{style}`, which is not offered")
}

/// JSON if the body can be JSON, else a form.
fn body_media(body: &Value) -> Result<Option<(&str, &Value)>, String> {
    let Some(content) = body.get("content").and_then(Value::as_object).filter(|content| !content.is_empty()) else {
        return Ok(None);
    };
    let is_form = |media_type: &str| media_type.starts_with("application/x-www-form-urlencoded");
    let offered: [&dyn Fn(&str) -> bool; 3] = [&|media_type| media_type == "application/json", &is_json, &is_form];
    let media = offered.into_iter().find_map(|fits| content.iter().find(|(media_type, _)| fits(media_type)));
    let (media_type, media) = media.ok_or_else(|| {
        let offered = content.keys().map(|media_type| format!("`{media_type}`"));
        format!("its body is {}, which is not offered", offered.collect::<Vec<_>>().join(" or "))
    })?;
    Ok(Some((media_type, media)))
}

fn form_styles(media: &Value) -> Result<HashMap<String, Style>, String> {
    let encodings = media.get("encoding").and_then(Value::as_object).into_iter().flatten();
    let styles = encodings.map(|(field, encoding)| match query_style(encoding) {
        Ok(style) => Ok((field.clone(), style)),
        Err(why) => Err(format!("its field `{field}` {why}")),
    });
    styles.collect()
}
