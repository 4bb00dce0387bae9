//! JSON documents for programs: each one names its schema and the version of that.

use serde::Serialize;

/// What is written as a JSON document, or as one line of a file of such lines.
pub trait Schema {
    /// The schema's name.
    const NAME: &'static str;
    /// Its version. Fields can be added in the same version; everything else raises it.
    const VERSION: u32;
}

/// Names a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
