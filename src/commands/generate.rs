//! `vm2docker-self generate`: man pages and completions for packages, JSON Schema for programs.

use crate::cli::{Cli, Generated, VERSION};
use crate::error::{Code, Error, Result};
use crate::system::console;
use clap::{Command, CommandFactory};
use std::path::Path;

/// JSON Schema of every document. A test keeps it equal to what the types say.
const SCHEMA: &str = include_str!("schema.json");

pub(super) fn run(what: &Generated) -> Result<Code> {
    match what {
        Generated::Man { directory } => man(directory)?,
        Generated::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut visible(&Cli::command()), env!("CARGO_PKG_NAME"), &mut text);
            console::answer(&String::from_utf8_lossy(&text));
        }
        Generated::Schema => console::answer(SCHEMA),
    }
    Ok(Code::Done)
}

fn man(directory: &Path) -> Result<()> {
    let failed = |cause| Error::io(directory.display().to_string(), cause);
    std::fs::create_dir_all(directory).map_err(failed)?;
    // Without the pages of `help` and `help COMMAND`, which have no content.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory).map_err(failed)
}

/// Returns the command line without hidden commands and options: completions would offer them.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned();
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    // clap needs names that live as long as the process.
    Command::new(&*command.get_name().to_owned().leak())
        .version(command.get_version().map(|_| VERSION))
        .about(command.get_about().cloned().unwrap_or_default())
        .args(arguments)
        .subcommands(subcommands.map(visible))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::verify::Verified;
    use crate::commands::{convert::Conversion, explain::Explained, inspect::Inspection};
    use crate::model::document::Document;
    use crate::model::findings::Finding;
    use crate::model::manifest::Line;
    use crate::summary::Summary;
    use crate::transfer::upload::Receipt;
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    #[test]
    fn visible_needs_no_hidden_argument() {
        visible(&Cli::command()).debug_assert();
    }

    /// Returns the schema as the types have it.
    fn schema() -> Value {
        let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let documents = [
            generator.subschema_for::<Document<Summary>>(),
            generator.subschema_for::<Document<Conversion>>(),
            generator.subschema_for::<Document<Inspection>>(),
            generator.subschema_for::<Document<Verified>>(),
            generator.subschema_for::<Document<Explained>>(),
            generator.subschema_for::<Document<Receipt>>(),
            generator.subschema_for::<Finding>(),
            generator.subschema_for::<Line>(),
        ];
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "JSON documents of vm2docker-self, and lines of its JSON Lines files",
            "oneOf": documents,
            "$defs": generator.take_definitions(true),
        })
    }

    #[test]
    fn schema_file_equals_types() {
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/schema.json"), &text).unwrap();
        } else {
            assert!(
                text == SCHEMA,
                "a document's type has changed: raise its version if a field was renamed \
                     or removed, then run this test with UPDATE=1"
            );
        }
    }
}
