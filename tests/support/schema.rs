//! The part of JSON Schema that `vm2docker-self generate schema` uses, without tolerance for
//! fields it does not name.

use super::tool::run;
use serde_json::Value;

/// The schema of all documents.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn load() -> Self {
        Schema(serde_json::from_str(&run(["generate", "schema"]).ends(0).out).unwrap())
    }

    /// Requires that the document is as the definition `name` says.
    pub(crate) fn check(&self, name: &str, document: &Value) {
        let definition = &self.0["$defs"][name.trim_start_matches("vm2docker-self/")];
        assert!(definition.is_object(), "no schema {name}");
        let result = self.matches(definition, document, name);
        assert_eq!(result, Ok(()));
    }

    fn matches(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.0.pointer(reference.trim_start_matches('#')).unwrap();
            self.matches(target, value, at)?;
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[choice].as_array() {
                let results = schemas.iter().map(|schema| self.matches(schema, value, at));
                let errors: Vec<String> = results.filter_map(Result::err).collect();
                if errors.len() == schemas.len() {
                    return Err(errors.join("; or "));
                }
            }
        }
        if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
            return Err(format!("{at}: {value} is not {constant}"));
        }
        if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
            return Err(format!("{at}: {value} is not one of {values:?}"));
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        if !types.is_empty() && !types.iter().any(|name| is_of(name.as_str().unwrap(), value)) {
            return Err(format!("{at}: {value} is not of type {types:?}"));
        }
        match value {
            Value::Object(fields) if types.iter().any(|name| name == "object") => {
                self.fields(schema, fields, at)
            }
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                let schema = schema["prefixItems"].get(index).or_else(|| schema.get("items"));
                schema.map_or(Ok(()), |schema| self.matches(schema, item, &format!("{at}[{index}]")))
            }),
            _ => Ok(()),
        }
    }

    fn fields(
        &self,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{at}: no field {name}"));
            }
        }
        fields.iter().try_for_each(|(name, value)| {
            let others = schema.get("additionalProperties").filter(|schema| schema.is_object());
            let schema = schema["properties"].get(name).or(others);
            let schema = schema.ok_or_else(|| format!("{at}: {name} is not in the schema"))?;
            self.matches(schema, value, &format!("{at}.{name}"))
        })
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("a type that no schema has: {name}"),
    }
}
