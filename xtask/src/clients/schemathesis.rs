//! What the admin API answers to requests made of its own description, good ones and bad ones: never a
//! failure of its own, and nothing that the description does not have.

use std::process::Command;

use anyhow::{Context, Result};

use super::Scene;
use super::nodes::push;
use crate::registry::{HOME, PASSWORD, USER};
use crate::{run, tools};

/// What is held against each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// What would shut out who asks, in the middle of asking.
const LEFT_OUT: [&str; 4] = ["SetPassword", "DisableUser", "SetOperator", "DeleteUser"];

/// What would take away what the others ask for: deletions, and other names.
const NOT_WITH_NAMES: [&str; 4] = ["--exclude-method", "DELETE", "--exclude-path-regex", "/name$"];

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    // Names made up at random: nearly nothing is there.
    run::show(&mut command(scene)?)?;
    // And the names of what is.
    let layer = b"what the admin API tells about";
    let digest = push(&scene.registry.client(), "v1", layer)?.context("nobody is away")?;
    let (organisation, registry) =
        HOME.split_once('/').context("a registry has an organisation")?;
    std::fs::write(
        scene.path("schemathesis.toml"),
        format!(
            "[parameters]\norganisation = \"{organisation}\"\nregistry = \"{registry}\"\n\
             repository = \"nodes\"\ntag = \"v1\"\ndigest = \"{digest}\"\n"
        ),
    )?;
    run::show(command(scene)?.args(NOT_WITH_NAMES))
}

fn command(scene: &Scene) -> Result<Command> {
    let long = std::env::var_os("STRONGROOM_LONG").is_some();
    let mut command = Command::new("python3");
    command
        .args(["-m", "schemathesis.cli", "run", "--no-color", "--seed", "1"])
        .arg(format!("http://{}/api/v1/openapi.json", scene.registry.address()))
        .args(["--auth", &format!("{USER}:{PASSWORD}"), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", if long { "100" } else { "10" }])
        .env("PYTHONPATH", tools::schemathesis()?)
        .current_dir(scene.path(""));
    for operation in LEFT_OUT {
        command.args(["--exclude-operation-id", operation]);
    }
    Ok(command)
}
