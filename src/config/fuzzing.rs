//! What can be written into a configuration file, for the fuzzer: the first line says in which notation, `toml`, `yaml` or
//! `json`.

use config::FileFormat;

use super::{Error, layers, of_layers, show};

/// Reads a configuration. What is wrong is told in lines without controls; what is right can be shown.
pub fn config(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (format, text) = input.split_once('\n').unwrap_or(("toml", &input));
    let format = match format {
        "yaml" => FileFormat::Yaml,
        "json" => FileFormat::Json,
        _ => FileFormat::Toml,
    };
    // What is inserted from files and from the environment is another's text.
    let text = text.replace("${", "$ {");
    let loaded = |text: &str, format| {
        let layers = layers::of_text(text, format).map_err(Error)?;
        of_layers(layers, show::masked)
    };
    match loaded(&text, format) {
        Ok((config, masked)) => {
            let shown = show::show(masked, &config);
            assert!(shown.parse::<toml::Table>().is_ok(), "what is shown is TOML: {shown}");
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
        }
    }
}
