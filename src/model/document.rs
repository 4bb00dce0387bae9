//! JSON documents for programs: each one names its schema and the version of that.

use serde::Serialize;

/// A type that is written as a JSON document, or as one line of a JSON Lines file.
pub trait Schema {
    /// The schema's name.
    const NAME: &'static str;
    /// Its version. Fields can be added in the same version; everything else raises it.
    const VERSION: u32;
}

/// Names a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SchemaId {
    /// The schema's name.
    pub schema: &'static str,
    /// Its version.
    pub version: u32,
}

impl SchemaId {
    /// Returns the name and version of the schema of `T`.
    pub fn of<T: Schema>() -> Self {
        SchemaId { schema: T::NAME, version: T::VERSION }
    }
}

/// A document with the name of its schema.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a, T: Schema> {
    #[serde(flatten)]
    id: SchemaId,
    #[serde(flatten)]
    content: &'a T,
}

impl<'a, T: Schema> Document<'a, T> {
    /// Returns the document with this content.
    pub fn new(content: &'a T) -> Self {
        Document { id: SchemaId::of::<T>(), content }
    }
}

#[cfg(test)]
impl<T: Schema + schemars::JsonSchema> schemars::JsonSchema for Document<'_, T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::NAME.trim_start_matches("vm2docker-self/").into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = T::json_schema(generator);
        let ids = [("schema", serde_json::json!(T::NAME)), ("version", serde_json::json!(T::VERSION))];
        for (name, value) in ids {
            schema.get_mut("properties").unwrap()[name] = serde_json::json!({"const": value});
            schema.get_mut("required").unwrap().as_array_mut().unwrap().push(name.into());
        }
        schema
    }
}
